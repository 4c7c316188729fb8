from __future__ import annotations

import errno
import os
import stat
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from diffcl.errors import OutputError
from diffcl.files import remove_leftovers, replace_file, replace_folder, write_bytes, write_text


def test_a_file_appears_with_its_whole_content(tmp_path: Path) -> None:
    path = tmp_path / "case.nii.gz"
    with replace_file(path) as temporary:
        assert temporary.name.endswith(".nii.gz")
        assert temporary.parent == tmp_path
        temporary.write_bytes(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert [*tmp_path.iterdir()] == [path]


def test_a_failure_keeps_the_former_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_text(path, "former")

    def fail() -> None:
        with replace_file(path) as temporary:
            temporary.write_text("half", encoding="utf-8")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text(encoding="utf-8") == "former"
    assert [*tmp_path.iterdir()] == [path]


def test_a_full_disk_is_one_line_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "out.nii"

    def fill() -> None:
        with replace_file(path) as temporary:
            temporary.write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OutputError) as caught:
        fill()
    assert str(caught.value) == (
        f"{path}: cannot be written (No space left on device). "
        "Choose a folder that exists, is writable and has space left"
    )
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("folder", ["missing/out", "file/out"], ids=["no such folder", "a file as folder"])
def test_a_folder_that_cannot_hold_the_file_is_named(tmp_path: Path, folder: str) -> None:
    write_bytes(tmp_path / "file", b"")
    with pytest.raises(OutputError, match=r"out\.nii: cannot be written \((No such file|Not a directory)"):
        write_bytes(tmp_path / folder / "out.nii", b"content")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_folder_replaces_the_former_one(tmp_path: Path) -> None:
    path = tmp_path / "model"
    for content in ("first", "second"):
        with replace_folder(path) as temporary:
            write_text(temporary / content, content)
    assert [entry.name for entry in path.iterdir()] == ["second"]
    assert [*tmp_path.iterdir()] == [path]


def test_a_failure_keeps_the_former_folder(tmp_path: Path) -> None:
    path = tmp_path / "model"
    with replace_folder(path) as temporary:
        write_text(temporary / "card.md", "former")

    def fail() -> None:
        with replace_folder(path) as temporary:
            write_text(temporary / "card.md", "half")
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(OutputError, match="Input/output error"):
        fail()
    assert (path / "card.md").read_text(encoding="utf-8") == "former"
    assert [*tmp_path.iterdir()] == [path]


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What goes to the disk, and what moves into place, by name."""
    happened: list[str] = []
    sync, move = os.fsync, Path.replace

    def fsync(handle: int) -> None:
        happened.append(f"on disk: {Path(f'/proc/self/fd/{handle}').readlink().name.lstrip('.')}")
        sync(handle)

    def replace(self: Path, target: Path) -> Path:
        happened.append(f"in place: {target.name}")
        return move(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr("diffcl.files.uuid4", lambda: SimpleNamespace(hex="new"))
    return happened


def test_what_shall_survive_a_power_cut_is_on_the_disk_before_it_is_in_place_and_its_name_after(
    tmp_path: Path, order: list[str]
) -> None:
    write_text(tmp_path / "label.json", "{}", durable=True)
    assert order == ["on disk: new.json", "in place: label.json", f"on disk: {tmp_path.name}"]


def test_so_is_all_that_a_folder_holds(tmp_path: Path, order: list[str]) -> None:
    with replace_folder(tmp_path / "model", durable=True) as temporary:
        (temporary / "weights").write_bytes(b"weights")
    assert order == ["on disk: weights", "on disk: new", "in place: model", f"on disk: {tmp_path.name}"]


def test_a_file_system_that_syncs_no_folders_keeps_files_nevertheless(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = os.fsync

    def fsync(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        sync(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    write_text(tmp_path / "label.json", "{}", durable=True)
    assert (tmp_path / "label.json").read_text(encoding="utf-8") == "{}"


def test_what_can_be_made_again_does_not_wait_for_the_disk(tmp_path: Path, order: list[str]) -> None:
    write_text(tmp_path / "report.json", "{}")
    assert order == ["in place: report.json"]


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    def leave(name: str, hours: float) -> Path:
        path = tmp_path / "labels" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
        os.utime(path, times=(time.time() - 3600 * hours,) * 2)
        return path

    half = "." + 32 * "a"
    gone = [leave(f"{half}.nii.gz", 2), leave(half, 2)]
    stay = [leave(f"{half}.nrrd", 0.5), leave(f".{half}", 2), leave(half[1:], 2), leave(".lock", 2)]
    folder = tmp_path / f".{32 * 'b'}"
    (folder / "inside").mkdir(parents=True)
    os.utime(folder, times=(0, 0))
    remove_leftovers(tmp_path)
    assert not [path for path in (*gone, folder) if path.exists()]
    assert all(path.exists() for path in stay)

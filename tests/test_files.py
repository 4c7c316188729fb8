from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from diffcl import files
from diffcl.errors import FullDiskError, OutputError
from diffcl.files import (
    WRITER,
    finite,
    read_bytes,
    remove_leftovers,
    remove_temporary_files,
    replace_file,
    replace_folder,
    temporary_beside,
    write_bytes,
    write_text,
)


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


class Stopped(BaseException):
    """Ends a replacement at a chosen moment: as Ctrl-C does, or as a kill does, after which nothing is done."""


class Moments:
    """Stops before or after the n-th thing that is done to the file system."""

    def __init__(self, stop_at: int, *, kill: bool) -> None:
        self.passed, self.stopped = 0, False
        self._stop_at, self._kill = stop_at, kill

    def passing(self) -> None:
        if (self.stopped and self._kill) or self.passed == self._stop_at:
            self.passed, self.stopped = self.passed + 1, True
            raise Stopped
        self.passed += 1

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def done(*arguments: Any, **options: Any) -> Any:
            self.passing()
            result = call(*arguments, **options)
            self.passing()
            return result

        return done


@pytest.mark.parametrize("kill", [False, True], ids=["interrupt", "kill"])
@pytest.mark.parametrize("exchange", [True, False], ids=["in one step", "in two steps"])
def test_no_moment_of_a_replacement_loses_both_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool, kill: bool
) -> None:
    if not exchange:
        monkeypatch.setattr("diffcl.files.exchanged", lambda *_: False)
    stop_at, stopped = 0, True
    while stopped:
        path = tmp_path / str(stop_at) / "model"
        path.mkdir(parents=True)
        (path / "card").write_text("former")
        moments = Moments(stop_at, kill=kill)
        with monkeypatch.context() as patch:
            for owner, name in ((Path, "mkdir"), (Path, "replace"), (shutil, "rmtree")):
                patch.setattr(owner, name, moments.around(getattr(owner, name)))
            if exchange:
                patch.setattr("diffcl.files.exchanged", moments.around(files.exchanged))
            with suppress(Stopped), replace_folder(path) as temporary:
                (temporary / "card").write_text("whole")
        stopped = moments.stopped
        for entry in path.parent.iterdir():
            os.utime(entry, times=(0, 0))
        remove_leftovers(path.parent)
        assert (path / "card").read_text() in ("former", "whole")
        assert [*path.parent.iterdir()] == [path]
        stop_at += 1
    assert stop_at > 6
    assert (path / "card").read_text() == "whole"


def test_a_replacement_first_brings_back_what_an_earlier_one_left(tmp_path: Path) -> None:
    path, other = tmp_path / "model", tmp_path / f".{32 * 'b'}.former.other"
    former = tmp_path / f".{32 * 'a'}.former.model"
    for folder in (former, other):
        folder.mkdir()
        (folder / "card").write_text("former")

    def fail() -> None:
        with replace_folder(path):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert (path / "card").read_text() == "former"
    assert sorted(tmp_path.iterdir()) == sorted([path, other])


@pytest.mark.parametrize("exchange", [True, False], ids=["in one step", "in two steps"])
def test_a_link_to_a_folder_is_replaced_and_the_folder_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    if not exchange:
        monkeypatch.setattr("diffcl.files.exchanged", lambda *_: False)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "card").write_text("kept")
    path = tmp_path / "model"
    path.symlink_to(tmp_path / "elsewhere")
    with replace_folder(path) as temporary:
        (temporary / "card").write_text("whole")
    assert not path.is_symlink()
    assert (path / "card").read_text() == "whole"
    assert (tmp_path / "elsewhere" / "card").read_text() == "kept"
    assert len([*tmp_path.iterdir()]) == 2


def test_linux_lets_folders_change_places_in_one_step(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    swapped = files.exchanged(tmp_path / "one", tmp_path / "other")
    assert swapped is (sys.platform == "linux")
    assert (tmp_path / "one" / ("other" if swapped else "one")).exists()
    assert files.exchanged(tmp_path / "one", tmp_path / "missing") is False


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


def test_what_a_writer_left_is_removed_when_it_is_over_and_what_is_anybodys_only_when_it_is_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WRITER, "0123456789abcdef")
    mine = temporary_beside(tmp_path / "label.nii.gz")
    monkeypatch.delenv(WRITER)
    young, old = temporary_beside(tmp_path / "label.nii.gz"), temporary_beside(tmp_path / "Label.NRRD")
    for path in (mine, young, old):
        path.write_bytes(b"half")
    folder = tmp_path / f".{32 * 'b'}"
    folder.mkdir()
    for path in (old, folder):
        os.utime(path, times=(0, 0))
    remove_temporary_files(tmp_path / "missing")
    remove_temporary_files(tmp_path, "0123456789abcdef")
    assert {*tmp_path.iterdir()} == {young, old, folder}
    remove_temporary_files(tmp_path)
    assert {*tmp_path.iterdir()} == {young, folder}


def test_numbers_that_json_does_not_know_become_null() -> None:
    assert finite({"a": [1.5, float("nan")], "b": {"c": float("-inf")}}) == {
        "a": [1.5, None],
        "b": {"c": None},
    }


@pytest.mark.parametrize(("free", "kind"), [(0, FullDiskError), (1 << 30, OutputError)])
def test_a_library_that_does_not_say_why_it_could_not_write_is_asked_for_by_the_free_space(
    free: int, kind: type[OutputError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    with pytest.raises(OutputError) as caught, replace_file(tmp_path / "scan.npy"):
        raise OSError("1000 requested and 17 written")
    assert type(caught.value) is kind
    assert ("No space left" in str(caught.value)) == (kind is FullDiskError)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    (tmp_path / "file").write_bytes(b"content")
    for name in ("pipe", "device"):
        with pytest.raises(OSError, match="Not a file"):
            read_bytes(tmp_path / name)
    with pytest.raises(IsADirectoryError):
        read_bytes(tmp_path)
    assert read_bytes(tmp_path / "file") == b"content"

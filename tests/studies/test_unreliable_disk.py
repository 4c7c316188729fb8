"""Disks that fill up, become read-only, or lose power: what was acknowledged stays, what was refused is not there."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from synthetic import ORGAN, SCANS, make_label, make_scan
from unreliable_disk import FAILING_DISK, PowerCut

from diffcl.errors import DiffclError, FullDiskError, OutputError, UnwritableError
from diffcl.geometry import voxels
from diffcl.io import read_label
from diffcl.studies.folder import FolderStudies
from diffcl.studies.folder_contents import FolderContents

MOST_WRITES = 80
"""No submission writes so often, nor do the looks after it, which try again at once to put labels in their place."""


def opened(studies: Path) -> FolderStudies:
    return FolderStudies(studies, lambda: [ORGAN])


@pytest.fixture
def labels(tmp_path: Path) -> list[Path]:
    """Five labels of the same scan; the first voxels say which is which."""
    files = []
    for number in range(5):
        label = make_label("oblique")
        label[0, 0, 0], label[1, 0, 0] = number % 3, number // 3
        files.append(tmp_path / f"label{number}.nii.gz")
        sitk.WriteImage(label, files[-1])
    return files


def which(file: Path) -> int:
    """The number of a label of `labels`."""
    found = voxels(read_label(file))
    np.testing.assert_array_equal(found[2:], voxels(make_label("oblique"))[2:])
    return int(found[0, 0, 0]) + 3 * int(found[1, 0, 0])


def newest(studies: FolderStudies) -> tuple[int, int]:
    """The number of the newest version, and of the label that is the final one."""
    file = studies.label_path("oblique", "final")
    assert file is not None
    return studies.history.newest("oblique")["version"], which(file)


@pytest.mark.parametrize(
    ("code", "kind", "lasts"),
    [
        pytest.param(errno.ENOSPC, FullDiskError, True, id="full"),
        pytest.param(errno.ENOSPC, FullDiskError, False, id="full for one write"),
        pytest.param(errno.EROFS, UnwritableError, True, id="read-only"),
    ],
)
def test_a_label_is_accepted_and_final_or_refused_and_never_final_whichever_write_fails(
    code: int, kind: type[OutputError], lasts: bool, studies: Path, labels: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("diffcl.studies.folder_contents.RETRY_SECONDS", 0.0)
    store = opened(studies)
    store.save_label("oblique", labels[0], "final", {})
    expected, failed = (1, 0), 0
    for number in range(MOST_WRITES):
        label = 1 + number % 4
        refused = None
        with FAILING_DISK.failing(studies, number, 10**6 if lasts else number, code):
            try:
                store.save_label("oblique", labels[label], "final", {})
            except OutputError as error:
                refused = error
            assert store.scans() == SCANS  # also now
            assert store.label_path("oblique", "final") is not None
        if refused is None:
            expected = (expected[0] + 1, label)
        else:
            assert isinstance(refused, kind)
            failed += 1
        assert newest(store) == expected
        assert newest(opened(studies)) == expected
        assert not [path for path in studies.rglob(".*") if not path.name.endswith(".lock")]
        if FAILING_DISK.writes < number:
            break
    else:
        pytest.fail("more writes than were tried")
    assert failed  # some writes are needed to keep a label; the others can wait


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_note_a_review_and_a_scan_are_there_or_refused_whichever_write_fails(
    code: int, studies: Path, labels: list[Path], tmp_path: Path
) -> None:
    store = opened(studies)
    store.save_label("oblique", labels[0], "final", {})
    sitk.WriteImage(make_scan("oblique") + 1, tmp_path / "other.nrrd")

    def noted() -> bool:
        return opened(studies).image_notes("oblique").get("seen") == "yes"

    def reviewed() -> bool:
        status = opened(studies).label_notes("oblique", "final").get("segmentationMeta", {}).get("status")
        return bool(status == "approved")

    def replaced() -> bool:
        return opened(studies).image_path("oblique").suffix == ".nrrd"

    acts: list[tuple[Callable[[], object], Callable[[], bool]]] = [
        (lambda: store.note_image("oblique", {"seen": "yes"}), noted),
        (
            lambda: store.note_label("oblique", "final", {"segmentationMeta": {"status": "approved"}}),
            reviewed,
        ),
        (lambda: store.add_image("oblique", tmp_path / "other.nrrd", {}), replaced),
    ]
    for act, done in acts:
        for number in range(MOST_WRITES):
            with FAILING_DISK.failing(studies, number, number, code):
                try:
                    act()
                except OutputError:
                    continue
                break
        assert done()
        assert newest(store) == (1, 0)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_start_and_a_look_work_on_a_disk_that_takes_nothing(
    code: int, studies: Path, labels: list[Path]
) -> None:
    opened(studies).save_label("oblique", labels[0], "final", {})
    (studies / "datastore_v2.json").write_text("{")
    with FAILING_DISK.failing(studies, 0, 10**6, code):
        store = opened(studies)
        assert store.scans() == SCANS
        assert store.labelled() == ["oblique"]
        assert store.status()["completed"] == 1
        with pytest.raises(OutputError):
            store.note_image("oblique", {"seen": "yes"})
    store.note_image("oblique", {"seen": "yes"})
    assert opened(studies).image_notes("oblique")["seen"] == "yes"


def test_a_read_only_disk_has_no_locks_and_is_looked_at_all_the_same(
    studies: Path, labels: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(studies)
    store.save_label("oblique", labels[0], "final", {})

    def acquire(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("filelock.FileLock.acquire", acquire)
    assert store.labelled() == ["oblique"]
    with pytest.raises(UnwritableError):
        store.save_label("oblique", labels[1], "final", {})


@pytest.fixture
def power(studies: Path, monkeypatch: pytest.MonkeyPatch) -> PowerCut:
    """The studies on a disk whose power may fail, opened once before."""
    opened(studies).save_label("straight", _saved(studies.parent / "straight.nii.gz"), "final", {})
    return PowerCut(studies, monkeypatch)


def _saved(file: Path) -> Path:
    sitk.WriteImage(make_label("straight"), file)
    return file


def test_no_power_cut_takes_an_acknowledged_label(
    power: PowerCut, studies: Path, labels: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(studies)
    acknowledged: list[int] = []
    disks: list[tuple[list[int], Path]] = []

    def cut() -> None:
        for names_kept in (False, True):
            place = tmp_path / f"disk{len(disks)}"
            disks.append((list(acknowledged), power.disk(place, names_kept=names_kept)))

    seen = power._fsync  # noqa: SLF001

    def fsync(handle: int) -> None:
        cut()  # just before
        seen(handle)

    monkeypatch.setattr("os.fsync", fsync)
    for number, label in enumerate(labels[:3]):
        store.save_label("oblique", label, "final", {})
        acknowledged.append(number)
        cut()
    store.remove_image("flipped")
    cut()
    monkeypatch.undo()
    power.close()
    assert len(disks) > 20
    for known, disk in disks:
        again = opened(disk)
        assert again.labelled()[-1:] == ["straight"]
        versions = [again.history.label("oblique", number) for number in range(1, len(known) + 1)]
        assert [which(file) for file in versions] == known
        if known:
            version, label = newest(again)
            assert label == version - 1 >= known[-1]
    last = disks[-2][1]
    assert "flipped" not in opened(last).scans()
    kept = sitk.ReadImage(last / "removed" / "flipped" / "1.nii.gz")
    np.testing.assert_array_equal(voxels(kept), voxels(make_scan("flipped")))


def test_the_first_label_of_new_studies_is_the_final_one_after_a_power_cut(
    studies: Path, labels: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    power = PowerCut(studies, monkeypatch)
    opened(studies).save_label("oblique", labels[3], "final", {})
    disk = power.disk(tmp_path / "disk")
    monkeypatch.undo()
    power.close()
    assert newest(opened(disk)) == (1, 3)


def test_a_label_that_is_kept_and_not_in_place_is_told_in_the_log_and_comes_later(
    studies: Path, labels: list[Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = opened(studies)
    store.save_label("oblique", labels[0], "final", {})

    def full(*_: object) -> None:
        raise FullDiskError("labels", "cannot be written (No space left on device)")

    monkeypatch.setattr("diffcl.studies.folder_contents.RETRY_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(FolderContents, "put_label", full)
        assert store.save_label("oblique", labels[1], "final", {})["version"] == 2
        assert "Version 2 of oblique is kept" in caplog.text
        assert newest(store) == (2, 0)
    assert newest(store) == (2, 1)
    with pytest.raises(DiffclError):
        store.history.label("oblique", 3)

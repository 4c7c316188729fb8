from __future__ import annotations

from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from diffcl.errors import UsageError
from diffcl.io import read_label
from diffcl.studies.label_history import FINAL_LABELS, LABEL_SUFFIX, History, restore_label


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "history")


def label(folder: Path, value: int, size: tuple[int, int, int] = (4, 3, 2)) -> Path:
    """A label file full of one value."""
    path = folder / f"{value}{LABEL_SUFFIX}"
    sitk.WriteImage(sitk.Image(*size, sitk.sitkUInt8) + value, path)
    return path


def value(path: Path) -> int:
    """The value that fills a label file."""
    (only,) = np.unique(sitk.GetArrayFromImage(read_label(path)))
    return int(only)


def add(folder: Path, count: int) -> None:
    """Adds versions of `case`."""
    for _ in range(count):
        History(folder / "history").add("case", folder / f"1{LABEL_SUFFIX}", {})


def test_versions_are_numbered_in_order(history: History, tmp_path: Path) -> None:
    for number in (1, 2):
        assert history.add("case", label(tmp_path, number), {"who": "ann"})["version"] == number
    assert [value(history.label("case", number)) for number in (1, 2)] == [1, 2]
    assert [record["who"] for record in history.versions("case")] == ["ann", "ann"]
    assert history.images() == ["case"]


def test_two_processes_never_share_a_number(tmp_path: Path) -> None:
    label(tmp_path, 1)
    children = [get_context("fork").Process(target=add, args=(tmp_path, 20)) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert len(History(tmp_path / "history").versions("case")) == 40


def test_a_restored_version_is_a_new_one(history: History, tmp_path: Path) -> None:
    for number in (1, 2):
        history.add("case", label(tmp_path, number), {"client_id": f"user{number}"})
    before = history.changed
    record = restore_label(tmp_path, "case", 1)
    assert (record["version"], record["restored_from"], record["changed_voxels"]) == (3, 1, 24)
    assert record["client_id"] == "user1"
    assert value(history.label("case", 3)) == 1
    assert value(tmp_path / FINAL_LABELS / f"case{LABEL_SUFFIX}") == 1
    assert history.changed > before


@pytest.mark.parametrize("left", [b"", b'{"version": ', b"\xff"])
def test_a_damaged_record_takes_no_label_away(left: bytes, history: History, tmp_path: Path) -> None:
    for number in (1, 2):
        history.add("case", label(tmp_path, number), {"client_id": "ann"})
    history.add("case", None, {})
    for number in (2, 3):
        (tmp_path / "history" / "case" / f"{number}.json").write_bytes(left)
    assert [record["version"] for record in history.versions("case")] == [1, 2, 3]
    assert value(history.label("case", 2)) == 2
    assert history.newest("case")["removed"]
    assert history.add("case", label(tmp_path, 1), {})["version"] == 4


def test_a_removed_label_can_be_restored(history: History, tmp_path: Path) -> None:
    history.add("case", label(tmp_path, 1), {})
    history.add("case", None, {})
    assert history.restore("case", 1)["changed_voxels"] is None
    with pytest.raises(UsageError, match=r"has no version 2\. Versions: 1, 2, 3"):
        history.restore("case", 2)


def test_a_label_of_another_size_has_no_changes(history: History, tmp_path: Path) -> None:
    history.add("case", label(tmp_path, 1), {})
    history.add("case", label(tmp_path, 2, (5, 3, 2)), {})
    assert history.restore("case", 1)["changed_voxels"] is None


def test_an_empty_history_has_nothing(history: History) -> None:
    assert (history.images(), history.changed, history.newest("case")) == ([], 0, {})

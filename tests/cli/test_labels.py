from __future__ import annotations

import json
from pathlib import Path

import pytest
import SimpleITK as sitk

from diffcl.cli.main import run
from diffcl.studies.label_history import History


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """A folder in which `case` has a label, another one, and none again."""
    history = History(tmp_path / "history")
    for value in (1, 2):
        sitk.WriteImage(sitk.Image(4, 3, 2, sitk.sitkUInt8) + value, tmp_path / "label.nii.gz")
        record = {
            "client_id": f"user{value}",
            "address": "10.0.0.7",
            "started_from": {"model": "organ", "version": 4},
        }
        history.add("case", tmp_path / "label.nii.gz", record)
    history.add("case", None, {})
    return tmp_path


def test_all_scans_are_listed_with_their_newest_label(
    studies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["labels", str(studies)]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "case" in line)
    assert "3" in line
    assert "removed" in line


def test_each_task_has_its_newest_label(studies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history = History(studies / "history")
    for task in ("spleen", "liver", "spleen"):
        names = [{"name": task, "idx": 1}]
        history.add("two", studies / "label.nii.gz", {"task": task, "label_info": names})
    assert run(["labels", str(studies), "--json"]) == 0
    found = [entry for entry in json.loads(capsys.readouterr().out) if entry["scan"] == "two"]
    assert [(entry["task"], entry["version"]) for entry in found] == [("liver", 2), ("spleen", 3)]
    assert run(["labels", str(studies)]) == 0
    assert "liver" in capsys.readouterr().out


def test_the_versions_of_a_scan_say_who_and_from_what(
    studies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["labels", str(studies), "case"]) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("user1, 10.0.0.7", "user2", "organ 4"))


def test_a_version_is_restored(studies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["labels", str(studies), "case", "--restore", "1"]) == 0
    assert "version 1 is the final label again, as version 4" in capsys.readouterr().out
    assert run(["labels", str(studies), "case", "--restore", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["restored_from"] == 2
    assert run(["labels", str(studies), "--json"]) == 0
    assert [entry["version"] for entry in json.loads(capsys.readouterr().out)] == [5]
    assert (studies / "labels/final/case.nii.gz").is_file()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nowhere"], "no such folder"),
        ([".", "nobody"], "no label of it was submitted. Scans with labels: case"),
        ([".", "../case"], "no label of it was submitted"),
        ([".", "case", "--restore", "9"], "has no version 9"),
        ([".", "--restore", "1"], "no scan is named"),
    ],
)
def test_what_cannot_be_is_wrong_use(
    words: list[str], sentence: str, studies: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(studies)
    assert run(["labels", *words]) == 2
    assert sentence in capsys.readouterr().err


def test_a_folder_without_labels_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["labels", str(tmp_path)]) == 0
    assert "No label has been submitted yet." in capsys.readouterr().out

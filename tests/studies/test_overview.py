from __future__ import annotations

import time
from pathlib import Path

import pytest
import SimpleITK as sitk
from study_files import empty_scans, keep_versions, record
from synthetic import ORGAN, make_label, make_scan

from diffcl.studies.folder import FolderStudies
from diffcl.studies.label_history import SETTLED_NS, History
from diffcl.studies.overview import LabelEvent, Overview, OverviewReader


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "studies"


def read(folder: Path) -> Overview:
    return OverviewReader(FolderStudies(folder, lambda: [ORGAN])).read()


def test_what_a_person_made_of_a_proposal_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "studies"
    folder.mkdir()
    sitk.WriteImage(make_scan("oblique"), folder / "oblique.nii.gz")
    studies = FolderStudies(folder, lambda: [ORGAN])
    proposal = make_label("oblique")
    studies.keep_proposal(
        "oblique", proposal, {"model": "organ", "version": 3, "task": "organ", "marked": False}
    )
    assert OverviewReader(studies).read().scans["oblique"].state == "proposed"
    proposal[4, 5, 3] = 0  # one voxel of the head, of 4 x 6 x 5 in each class
    sitk.WriteImage(proposal, tmp_path / "label.nii.gz")
    params = {
        "client_id": "ann",
        "label_info": [{"name": "organ_head", "idx": 1}, {"name": "organ_tail", "idx": 2}],
    }
    studies.save_label("oblique", tmp_path / "label.nii.gz", "final", params)
    found = OverviewReader(studies).read()
    (event,) = found.events
    assert (event.image, event.version, event.by, event.task) == ("oblique", 1, "ann", "organ")
    assert (event.model, event.model_version) == ("organ", 3)
    assert event.dice == pytest.approx((1 + 2 * 119 / 239) / 2, abs=1e-4)
    assert found.scans["oblique"].state == "submitted"
    assert found.labelled == 1


def test_days_and_people_are_counted_and_removals_are_not(folder: Path) -> None:
    empty_scans(folder, ["a", "b"])
    removal = {**record("2026-02-02", "bob"), "removed": True}
    keep_versions(folder, "a", [record("2026-01-31", "ann"), record("2026-02-01", "bob"), removal])
    keep_versions(folder, "b", [record("2026-01-31", "ann"), record("2026-01-31", "")])
    found = read(folder)
    assert list(found.per_day().items()) == [("2026-02-01", {"bob": 1}), ("2026-01-31", {"ann": 2, "": 1})]
    assert [scan.state for scan in found.scans.values()] == ["waiting", "submitted"]
    assert [event.version for event in found.of("a")] == [1, 2, 3]


def test_a_label_put_there_by_hand_counts(folder: Path) -> None:
    empty_scans(folder, ["a"])
    (folder / "labels" / "final").mkdir(parents=True)
    (folder / "labels" / "final" / "a.nii.gz").touch()
    found = read(folder)
    assert found.scans["a"].state == "submitted"
    assert [(event.version, event.by) for event in found.events] == [(0, "")]


def test_only_what_changed_is_read_again_and_everything_that_changed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty_scans(folder, ["a", "b"])
    for name in "ab":
        keep_versions(folder, name, [record("2026-01-31", "ann")])
    studies = FolderStudies(folder, lambda: [ORGAN])
    reader = OverviewReader(studies)
    time.sleep(2 * SETTLED_NS / 1e9)
    reader.read()
    asked: list[str] = []
    versions = studies.label_versions
    monkeypatch.setattr(studies, "label_versions", lambda image: (asked.append(image), versions(image))[1])
    reader.read()
    assert asked == []
    keep_versions(folder, "b", [record("2026-01-31", "ann"), record("2026-02-01", "bob")])
    assert len(reader.read().events) == 3
    assert asked == ["b"]
    (folder / "history" / "a" / "1.review.json").write_text('{"segmentationMeta": {"status": "approved"}}')
    assert reader.read().events[0].status == "approved"
    (folder / "b.nii.gz").unlink()
    assert [event.image for event in reader.read().events] == ["a"]


def test_a_label_that_was_submitted_costs_reading_the_versions_of_its_scan_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty_scans(folder, ["a", "b", "c"])
    for name in "ab":
        keep_versions(folder, name, [record("2026-01-31", "ann"), record("2026-02-01", "ann")])
    time.sleep(2 * SETTLED_NS / 1e9)
    reader = OverviewReader(FolderStudies(folder, lambda: [ORGAN]))
    reader.read()
    asked: set[str] = set()
    one = History.record
    monkeypatch.setattr(
        History, "record", lambda self, image, number: (asked.add(image), one(self, image, number))[1]
    )
    keep_versions(folder, "c", [record("2026-02-02", "bob")])
    time.sleep(2 * SETTLED_NS / 1e9)
    assert reader.read().scans["c"].state == "submitted"
    assert asked == {"c"}


def test_it_is_known_with_whom_a_label_agrees_and_who_said_what_of_it() -> None:
    content = {
        "version": 2,
        "agreement": {"with_version": 1, "with_author": "ann", "classes": {"head": {"dice": 0.6}}},
        "segmentationMeta": {"status": "flagged", "approvedBy": "carol", "comment": "the tail is missing"},
    }
    event = LabelEvent.of("a", content)
    assert (event.agreement, event.compared, event.compared_by) == (0.6, 1, "ann")
    assert (event.status, event.reviewer, event.comment) == ("flagged", "carol", "the tail is missing")


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"agreement": {"with_version": "x", "with_author": None, "classes": {"head": 3}}},
        {"started_from": 3, "agreement": [], "time": None},
        {"started_from": {"changes": {"head": {"dice": "x"}}, "model": {}, "version": "x"}},
        {"started_from": {"changes": []}, "version": "x", "changed_voxels": "many", "client_id": {"a": 1}},
    ],
    ids=["nothing", "an agreement with nobody", "other kinds", "words for numbers", "a list"],
)
def test_a_record_of_anything_is_an_event(content: dict[str, object]) -> None:
    event = LabelEvent.of("a", content)
    assert (event.image, event.dice, event.status) == ("a", None, "submitted")

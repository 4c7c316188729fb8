"""Two organs on the same scans, each outlined for itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from synthetic import ORGAN, make_label, make_scan
from two_tasks import HEART, Submit

from diffcl.errors import DataError, NotFoundError, UsageError
from diffcl.geometry import Geometry, voxels
from diffcl.io import read_label
from diffcl.studies.folder import FolderStudies
from diffcl.studies.label_history import History, restore_label
from diffcl.studies.label_parts import TaskLabel, combined
from diffcl.studies.review import review_of

HEAD, TAIL, ATRIUM = (1, "organ_head"), (2, "organ_tail"), (1, "atrium")

SCAN = "oblique"


def grid() -> Geometry:
    return Geometry.of(make_scan(SCAN))


def organ() -> np.ndarray:
    """Values of both classes of the organ."""
    return voxels(make_label(SCAN)).copy()


def heart() -> np.ndarray:
    """The atrium, beside the organ."""
    values = grid().zeros(np.uint8)
    values[4:9, 14:18, 4:9] = 1
    return values


def shown(opened: FolderStudies) -> np.ndarray:
    path = opened.label_path(SCAN, "final")
    assert path is not None
    return voxels(read_label(path))


def of_task(opened: FolderStudies, task: str) -> np.ndarray:
    path = opened.training_label(SCAN, task)
    assert path is not None
    assert path == opened.label_path(SCAN, f"final.{task}")
    return voxels(read_label(path))


def names_of(opened: FolderStudies, tag: str = "final") -> list[tuple[int, str]]:
    return [(one["idx"], one["name"]) for one in opened.label_notes(SCAN, tag)["label_info"]]


def test_the_label_of_another_organ_takes_none_away(opened: FolderStudies, submit: Submit) -> None:
    submit(organ(), "organ_head", "organ_tail")
    submit(heart(), "atrium")
    np.testing.assert_array_equal(of_task(opened, "organ"), organ())
    np.testing.assert_array_equal(of_task(opened, "heart"), heart())
    assert opened.tasks_of(SCAN) == ["organ", "heart"]
    assert opened.status()["tasks"] == {"organ": 1, "heart": 1}
    assert opened.status()["completed"] == 1


def test_viewers_get_all_of_them_in_one_map_with_names(opened: FolderStudies, submit: Submit) -> None:
    submit(organ(), "organ_head", "organ_tail")
    np.testing.assert_array_equal(shown(opened), organ())
    submit(heart(), "atrium")
    assert names_of(opened) == [(1, "atrium"), (2, "organ_head"), (3, "organ_tail")]
    np.testing.assert_array_equal(shown(opened), np.where(heart() > 0, 1, np.array([0, 2, 3])[organ()]))
    assert names_of(opened, "final.organ") == [HEAD, TAIL]
    assert names_of(opened, "final.heart") == [ATRIUM]
    assert opened.label_path(SCAN, "final.liver") is None
    assert opened.label_notes(SCAN, "final.liver") == {}


def test_a_map_of_both_is_taken_apart_and_what_is_as_it_was_gets_no_version(
    opened: FolderStudies, submit: Submit
) -> None:
    both = np.where(heart() > 0, 3, organ())
    assert submit(both, "organ_head", "organ_tail", "atrium")["stored"] == {"organ": 1, "heart": 2}
    np.testing.assert_array_equal(of_task(opened, "organ"), organ())
    np.testing.assert_array_equal(of_task(opened, "heart"), heart())
    both[4, 14, 4] = 0
    record = submit(both, "organ_head", "organ_tail", "atrium")
    assert (record["task"], record["version"], record["changed_voxels"]) == ("heart", 3, 1)
    assert len(opened.history.versions(SCAN)) == 3
    assert of_task(opened, "heart")[4, 14, 4] == 0


def test_what_one_organ_hides_of_another_stays(opened: FolderStudies, submit: Submit) -> None:
    """The atrium lies within the organ; sent back as it was shown, the organ has no hole."""
    inside = grid().zeros(np.uint8)
    inside[5:7, 6:8, 4:6] = 1
    submit(organ(), "organ_head", "organ_tail")
    submit(inside, "atrium")
    sent = shown(opened)
    assert (sent == 1).sum() == inside.sum()
    sent[11, 10, 7] = 0  # of the tail
    submit(sent, "atrium", "organ_head", "organ_tail")
    wanted = organ()
    wanted[11, 10, 7] = 0
    np.testing.assert_array_equal(of_task(opened, "organ"), wanted)
    np.testing.assert_array_equal(of_task(opened, "heart"), inside)


def test_one_of_them_is_removed_and_restored(opened: FolderStudies, submit: Submit, studies: Path) -> None:
    submit(organ(), "organ_head", "organ_tail")
    submit(heart(), "atrium")
    opened.remove_label(SCAN, "final.organ")
    assert opened.training_label(SCAN, "organ") is None
    np.testing.assert_array_equal(shown(opened), heart())
    with pytest.raises(NotFoundError):
        opened.remove_label(SCAN, "final.organ")
    restore_label(studies, SCAN, 1)
    opened.refresh()
    np.testing.assert_array_equal(of_task(opened, "organ"), organ())
    assert names_of(opened) == [(1, "atrium"), (2, "organ_head"), (3, "organ_tail")]
    opened.remove_label(SCAN, "final")
    assert opened.labelled() == []
    assert opened.training_label(SCAN, "organ") is opened.training_label(SCAN, "heart") is None


def test_a_scan_waits_for_each_task_by_itself(opened: FolderStudies, submit: Submit) -> None:
    every = opened.scans()
    submit(organ(), "organ_head", "organ_tail")
    others = [name for name in every if name != SCAN]
    assert opened.waiting() == opened.waiting("organ") == others
    assert opened.waiting("heart") == every
    assert (opened.labelled("organ"), opened.labelled("heart")) == ([SCAN], [])
    submit(heart(), "atrium")
    assert opened.waiting("heart") == others


def test_a_lost_map_is_put_back_from_the_versions(
    opened: FolderStudies, submit: Submit, studies: Path
) -> None:
    submit(organ(), "organ_head", "organ_tail")
    submit(heart(), "atrium")
    before = shown(opened)
    (studies / "datastore_v2.json").unlink()
    (studies / "labels" / "final" / f"{SCAN}.nii.gz").unlink()
    again = FolderStudies(studies, lambda: [ORGAN, HEART])
    np.testing.assert_array_equal(shown(again), before)
    assert again.tasks_of(SCAN) == ["organ", "heart"]


def test_studies_of_before_keep_working(submit: Submit, studies: Path) -> None:
    """Versions without a word of tasks that are shown together, the newest of another organ."""
    submit(organ(), "organ_head", "organ_tail")
    history = History(studies / "history")
    (old,) = history.versions(SCAN)
    assert "shows" not in old
    assert "classes" not in old
    submit(heart(), "atrium")
    (studies / "history" / SCAN / "2.all.nii.gz").unlink()
    again = FolderStudies(studies, lambda: [ORGAN, HEART])
    np.testing.assert_array_equal(of_task(again, "organ"), organ())


def test_each_of_them_is_reviewed_for_itself(opened: FolderStudies, submit: Submit) -> None:
    submit(organ(), "organ_head", "organ_tail")
    submit(heart(), "atrium")
    opened.note_label(SCAN, "final.heart", {"segmentationMeta": {"status": "approved"}})
    assert opened.to_review() == [SCAN]
    opened.note_label(SCAN, "final.organ", {"segmentationMeta": {"status": "flagged"}})
    assert opened.to_review() == []
    assert opened.training_label(SCAN, "organ") is None
    assert opened.training_label(SCAN, "heart", only_approved=True) is not None


def test_a_proposal_of_two_organs_is_kept_as_one_map(opened: FolderStudies, submit: Submit) -> None:
    both = np.where(heart() > 0, 3, organ())
    submit(both, "organ_head", "organ_tail", "atrium", tag="original")
    path = opened.label_path(SCAN, "original")
    assert path is not None
    assert set(np.unique(voxels(read_label(path)))) == {0, 1, 2, 3}


def test_a_label_is_submitted_with_the_tag_of_all(submit: Submit) -> None:
    with pytest.raises(UsageError, match="Submit with the tag 'final'"):
        submit(heart(), "atrium", tag="final.heart")


def test_classes_of_the_same_name_are_told_apart() -> None:
    label = grid().place(heart())
    parts = [TaskLabel(task, label, [{"name": "atrium", "idx": 1}]) for task in ("heart", "chest")]
    _, listed = combined(parts)
    assert [one["name"] for one in listed] == ["atrium (chest)", "atrium (heart)"]


def test_more_classes_than_values_are_refused() -> None:
    label = grid().place(heart())
    classes = [{"name": f"rib {number}", "idx": number} for number in range(1, 201)]
    with pytest.raises(DataError, match="have 400 classes together"):
        combined([TaskLabel(task, label, classes) for task in ("left", "right")])


def test_after_a_removal_viewers_are_told_of_what_is_left(
    opened: FolderStudies, submit: Submit, studies: Path
) -> None:
    submit(organ(), "organ_head", "organ_tail", client_id="ann")
    submit(heart(), "atrium", client_id="bob")
    opened.note_label(SCAN, "final.organ", {"segmentationMeta": {"status": "approved"}})
    opened.remove_label(SCAN, "final.heart", {"client_id": "carol"})
    index = opened.content()["objects"][SCAN]["labels"]
    for notes in (opened.label_notes(SCAN, "final"), index["final"]["info"]):
        assert (notes["removed"], notes["task"], notes["version"], notes["client_id"]) == (
            False,
            "organ",
            1,
            "ann",
        )
        assert notes["segmentationMeta"]["status"] == "approved"
        assert notes["shows"] == {"organ": 1}
    assert set(index) == {"final", "version_2"}
    assert names_of(opened) == [HEAD, TAIL]
    assert (opened.tasks_of(SCAN), opened.to_review()) == (["organ"], [])
    opened.note_label(SCAN, "final", {"segmentationMeta": {"status": "flagged"}})
    assert opened.training_label(SCAN, "organ") is None
    assert opened.history.record(SCAN, 3).get("segmentationMeta") is None
    assert [record["removed"] for record in opened.label_versions(SCAN)] == [False, False, True]
    again = FolderStudies(studies, lambda: [ORGAN, HEART])
    assert again.label_notes(SCAN, "final") == opened.label_notes(SCAN, "final")


def test_nothing_of_a_removed_label_is_kept_among_the_removed_files(
    opened: FolderStudies, submit: Submit, studies: Path
) -> None:
    """It stands among the versions already."""
    for _ in range(2):
        submit(organ(), "organ_head", "organ_tail")
        submit(heart(), "atrium")
        opened.remove_label(SCAN, "final.heart")
    opened.remove_label(SCAN, "final")
    assert not (studies / "removed").exists()


def test_a_label_put_there_by_hand_after_a_removal_is_no_removed_one(
    opened: FolderStudies, submit: Submit, studies: Path
) -> None:
    submit(organ(), "organ_head", "organ_tail")
    opened.remove_label(SCAN, "final")
    sitk.WriteImage(make_label(SCAN), studies / "labels" / "final" / f"{SCAN}.nii.gz")
    opened.refresh()
    assert not {"removed", "version"} & opened.label_notes(SCAN, "final").keys()
    np.testing.assert_array_equal(of_hand(opened), organ())


def of_hand(opened: FolderStudies) -> np.ndarray:
    path = opened.training_label(SCAN, "organ")
    assert path is not None
    return voxels(read_label(path))


def test_a_review_of_the_map_is_one_of_every_label_in_it(opened: FolderStudies, submit: Submit) -> None:
    """A reviewer in 3D Slicer sees all of them at once, and is not given the scan again."""
    submit(organ(), "organ_head", "organ_tail")
    submit(heart(), "atrium")
    opened.note_label(SCAN, "final", {"segmentationMeta": {"status": "approved"}})
    assert opened.to_review() == []
    for task in ("organ", "heart"):
        assert opened.training_label(SCAN, task, only_approved=True) is not None


def test_of_several_labels_the_review_is_told_that_asks_for_most(
    opened: FolderStudies, submit: Submit
) -> None:
    def told() -> str:
        found = opened.label_notes(SCAN, "final").get("segmentationMeta", {}).get("status", "submitted")
        assert found == review_of(opened.content()["objects"][SCAN]["labels"]["final"]["info"]).status
        return str(found)

    submit(organ(), "organ_head", "organ_tail")
    submit(heart(), "atrium")
    for task, status, wanted in (
        ("heart", "approved", "submitted"),
        ("organ", "flagged", "flagged"),
        ("organ", "approved", "approved"),
    ):
        opened.note_label(SCAN, f"final.{task}", {"segmentationMeta": {"status": status}})
        assert told() == wanted


def test_what_is_partly_drawn_of_one_task_is_told_with_the_map(opened: FolderStudies, submit: Submit) -> None:
    submit(np.where(organ() == 2, 3, organ()), "organ_head", "organ_tail", "unknown")
    submit(heart(), "atrium")
    drawn = opened.label_notes(SCAN, "final.organ")["drawn"]
    assert opened.status()["partly_drawn"] == {SCAN: f"{drawn} (organ)"}
    opened.remove_label(SCAN, "final.heart")
    assert opened.status()["partly_drawn"] == {SCAN: drawn}

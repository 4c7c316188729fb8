"""Reviews decide which label teaches; that of a second person does not take the place of the first in silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic import ORGAN, make_label

from diffcl.errors import UsageError
from diffcl.geometry import voxels
from diffcl.io import read_label, write_image
from diffcl.studies.agreement import in_words
from diffcl.studies.folder import FolderStudies
from diffcl.studies.review import FIELD
from diffcl.studies.submission import told_of


@pytest.fixture
def opened(studies: Path) -> FolderStudies:
    return FolderStudies(studies, lambda: [ORGAN])


def review(status: str, who: str = "carol") -> dict[str, Any]:
    return {
        FIELD: {"status": status, "approvedBy": who, "level": "easy", "comment": "", "editTime": 1764300000}
    }


def submit(opened: FolderStudies, folder: Path, who: str, less: int = 0) -> dict[str, Any]:
    """Submit a label of `oblique` with some voxels less; its record."""
    label = make_label("oblique")
    for index in range(less):
        label[4 + index % 4, 5 + index // 4, 3] = 0
    write_image(label, folder / f"{who}.nii.gz")
    return opened.save_label("oblique", folder / f"{who}.nii.gz", "final", {"client_id": who})


def test_a_flagged_label_never_teaches(opened: FolderStudies, tmp_path: Path) -> None:
    submit(opened, tmp_path, "ann")
    assert opened.training_label("oblique", "organ") is not None
    opened.note_label("oblique", "final", review("flagged"))
    assert opened.training_label("oblique", "organ") is None
    submit(opened, tmp_path, "ann", less=2)  # the correction waits for a review of its own
    assert opened.training_label("oblique", "organ") == opened.history.label("oblique", 2)


def test_only_approved_labels_teach_where_that_is_asked(opened: FolderStudies, tmp_path: Path) -> None:
    submit(opened, tmp_path, "ann")
    assert opened.training_label("oblique", "organ", only_approved=True) is None
    opened.note_label("oblique", "final", review("approved"))
    assert opened.training_label("oblique", "organ", only_approved=True) == opened.history.label("oblique", 1)


def test_an_approved_label_teaches_until_another_one_is_approved(
    opened: FolderStudies, tmp_path: Path
) -> None:
    submit(opened, tmp_path, "ann")
    opened.note_label("oblique", "final", review("approved"))
    submit(opened, tmp_path, "bob", less=4)
    assert opened.label_notes("oblique", "final")["client_id"] == "bob"
    assert opened.training_label("oblique", "organ") == opened.history.label("oblique", 1)
    opened.note_label("oblique", "final", review("approved"))
    assert opened.training_label("oblique", "organ") == opened.history.label("oblique", 2)


def test_two_people_are_told_how_far_they_agree(opened: FolderStudies, tmp_path: Path) -> None:
    assert submit(opened, tmp_path, "ann")["agreement"] is None
    assert submit(opened, tmp_path, "ann", less=1)["agreement"] is None  # with herself
    found = submit(opened, tmp_path, "bob", less=6)["agreement"]
    assert (found["with_version"], found["with_author"]) == (2, "ann")
    one, other = (voxels(read_label(opened.history.label("oblique", version))) == 1 for version in (2, 3))
    expected = 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))
    assert found["classes"]["organ_head"]["dice"] == pytest.approx(expected, abs=1e-4)
    assert found["classes"]["organ_tail"] == {"dice": 1.0, "hd95_mm": 0.0}
    assert "by ann" in in_words(found)


def test_reviews_survive_the_loss_of_the_index(opened: FolderStudies, studies: Path, tmp_path: Path) -> None:
    submit(opened, tmp_path, "ann")
    opened.note_label("oblique", "final", review("flagged"))
    (studies / "datastore_v2.json").unlink()
    again = FolderStudies(studies, lambda: [ORGAN])
    assert again.label_notes("oblique", "final")[FIELD]["status"] == "flagged"
    assert again.training_label("oblique", "organ") is None


def test_what_is_no_review_is_refused_and_changes_nothing(opened: FolderStudies, tmp_path: Path) -> None:
    submit(opened, tmp_path, "ann")
    with pytest.raises(UsageError, match="status"):
        opened.note_label("oblique", "final", {FIELD: {"status": "perfect"}})
    assert FIELD not in opened.label_notes("oblique", "final")


def test_labels_that_wait_for_review_come_with_the_least_agreement_first(
    opened: FolderStudies, tmp_path: Path
) -> None:
    for name in ("flipped", "straight"):
        write_image(make_label(name), tmp_path / f"{name}.nii.gz")
        opened.save_label(name, tmp_path / f"{name}.nii.gz", "final", {"client_id": "ann"})
    submit(opened, tmp_path, "ann")
    submit(opened, tmp_path, "bob", less=8)
    assert opened.to_review() == ["oblique", "flipped", "straight"]
    opened.note_label("oblique", "final", review("approved"))
    opened.note_label("flipped", "final", review("flagged"))
    assert opened.to_review() == ["straight"]


def test_older_versions_are_shown_under_tags_of_their_own(opened: FolderStudies, tmp_path: Path) -> None:
    for less in range(3):
        submit(opened, tmp_path, "ann", less)
    labels = opened.content()["objects"]["oblique"]["labels"]
    assert sorted(labels) == ["final", "version_1", "version_2"]
    assert labels["version_2"]["info"]["client_id"] == "ann"
    file = opened.label_path("oblique", "version_2")
    assert file == opened.history.label("oblique", 2)
    assert opened.label_notes("oblique", "version_2")["version"] == 2
    opened.note_label("oblique", "version_1", review("approved"))
    assert opened.training_label("oblique", "organ") == opened.history.label("oblique", 1)
    assert opened.label_path("oblique", "version_3") is None  # which is the final one
    opened.save_label("oblique", tmp_path / "ann.nii.gz", "version_2", {})
    assert opened.label_path("oblique", "version_2") != file
    opened.remove_label("oblique", "version_2")
    assert opened.label_path("oblique", "version_2") == file


def test_the_oldest_versions_are_forgotten_and_none_that_matters(studies: Path, tmp_path: Path) -> None:
    opened = FolderStudies(studies, lambda: [ORGAN], most_versions=3)
    submit(opened, tmp_path, "ben")
    submit(opened, tmp_path, "ann", less=1)
    opened.note_label("oblique", "final", review("approved"))
    for less in range(2, 6):
        submit(opened, tmp_path, "ann", less)
    assert [record["version"] for record in opened.history.versions("oblique")] == [1, 2, 6]
    assert submit(opened, tmp_path, "ann")["version"] == 7
    assert [record["version"] for record in opened.history.versions("oblique")] == [1, 2, 7]
    assert not (studies / "removed").exists()
    assert FolderStudies(studies, lambda: [ORGAN]).label_notes("oblique", "final")["version"] == 7


FORGED = {
    "agreement": 3, "changed_voxels": "x", "classes": 5, "drawn": 1, "label_info": [], "remark": 7, "removed": True,
    "restored_from": [], "shows": 7, "started_from": 1, "stored": 2, "task": {}, "version": 99,
}  # fmt: skip


@pytest.mark.parametrize("tag", ["final", "mine"])
def test_what_the_server_itself_notes_of_a_label_is_nobody_else_s_to_say(
    tag: str, opened: FolderStudies, tmp_path: Path
) -> None:
    write_image(make_label("oblique"), tmp_path / "label.nii.gz")
    plain = opened.save_label("oblique", tmp_path / "label.nii.gz", tag, {"client_id": "ann"})
    forged = opened.save_label("oblique", tmp_path / "label.nii.gz", tag, {"client_id": "ann", **FORGED})
    opened.note_label("oblique", tag, {"seen": True, **FORGED})
    noted = opened.label_notes("oblique", tag)
    changes = {"version", "changed_voxels", "ts", "time"}
    for found in (forged, noted):
        assert {key: found.get(key) for key in FORGED.keys() - changes} == {
            key: plain.get(key) for key in FORGED.keys() - changes
        }
    assert forged.get("version") == noted.get("version") == (2 if tag == "final" else None)
    assert noted["seen"] is True
    told_of(forged)
    assert opened.status()["tasks"] == ({"organ": 1} if tag == "final" else {})

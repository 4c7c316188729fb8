"""A label of which a part is unknown is accepted, kept, told and used as such."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray
from synthetic import ORGAN, SCANS, make_label, make_scan
from two_tasks import Submit

from diffcl.errors import DataError
from diffcl.geometry import Geometry, voxels
from diffcl.io import read_label
from diffcl.labels import UNKNOWN
from diffcl.studies.folder import FolderStudies
from diffcl.studies.label_changes import compare
from diffcl.studies.label_parts import with_hidden
from diffcl.studies.overview import OverviewReader
from diffcl.studies.pictures import draw_scan
from diffcl.studies.submission import told_of
from diffcl.studies.training_cases import Roles, training_cases, validation_cases
from diffcl.training.label_remarks import label_remarks

ON_TWO = "drawn on 2 of 13 axial slices"

NAMES = ("organ_head", "organ_tail", "unknown")


def drawn(scan: str = "oblique", elsewhere: int = 3) -> NDArray[np.uint8]:
    """The organ in slices 4 and 6, and another value everywhere else."""
    whole = voxels(make_label(scan))
    values = np.full_like(whole, elsewhere)
    values[..., [4, 6]] = whole[..., [4, 6]]
    return values


def stored(opened: FolderStudies, tag: str = "final", scan: str = "oblique") -> NDArray[np.uint8]:
    file = opened.label_path(scan, tag)
    assert file is not None
    return voxels(read_label(file))


def test_a_segment_named_unknown_is_kept_and_the_rest_voxel_by_voxel(
    opened: FolderStudies, submit: Submit
) -> None:
    record = submit(drawn(), *NAMES)
    np.testing.assert_array_equal(stored(opened), drawn(elsewhere=UNKNOWN))
    assert record["drawn"] == ON_TWO
    assert told_of(record)["summary"] == f"It is {ON_TWO}; the rest counts as unlabelled"
    assert record["label_info"][-1] == {"name": "unknown", "idx": UNKNOWN}
    assert opened.status()["partly_drawn"] == {"oblique": ON_TWO}


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ((*NAMES[:2], "unknown_slices"), {}),
        (NAMES[:2], {"known": "slices"}),
        ((), {"known": "slices"}),
    ],
    ids=["an empty segment", "a param", "a param without names"],
)
def test_untouched_slices_are_unknown_where_that_is_said(
    names: tuple[str, ...], said: dict[str, str], opened: FolderStudies, submit: Submit
) -> None:
    record = submit(drawn(elsewhere=0), *names, **said)
    np.testing.assert_array_equal(stored(opened), drawn(elsewhere=UNKNOWN))
    assert record["drawn"] == ON_TWO
    assert record["remark"] == "Known are 2 axial slices (4, 6), background included."


def test_a_segmentation_with_an_empty_segment_says_so_too(opened: FolderStudies, tmp_path: Path) -> None:
    """As OHIF sends it: the names stand in the file, and there are no params."""
    label = Geometry.of(make_scan("oblique")).place(drawn(elsewhere=0))
    for number, name in enumerate([*NAMES[:2], "unknown_slices"], start=1):
        label.SetMetaData(f"Segment{number - 1}_Name", name)
        label.SetMetaData(f"Segment{number - 1}_LabelValue", str(number))
    sitk.WriteImage(label, tmp_path / "sent.seg.nrrd")
    record = opened.save_label("oblique", tmp_path / "sent.seg.nrrd", "final", {})
    np.testing.assert_array_equal(stored(opened), drawn(elsewhere=UNKNOWN))
    assert record["drawn"] == ON_TWO


def test_nothing_is_unknown_where_nobody_says_so(opened: FolderStudies, submit: Submit) -> None:
    for names in (NAMES, NAMES[:2], ()):
        record = submit(drawn(elsewhere=0), *names)
        np.testing.assert_array_equal(stored(opened), drawn(elsewhere=0))
        assert "drawn" not in record
        assert len(record["label_info"]) == 2
    assert submit(drawn(elsewhere=0), drawn="all of it").get("drawn") is None, "a client does not decide it"
    assert opened.status()["partly_drawn"] == {}


def test_the_stored_label_can_be_sent_again(opened: FolderStudies, submit: Submit) -> None:
    submit(drawn(), *NAMES)
    again = submit(stored(opened))
    np.testing.assert_array_equal(stored(opened), drawn(elsewhere=UNKNOWN))
    assert (again["drawn"], again["changed_voxels"]) == (ON_TWO, 0)
    whole = submit(voxels(make_label("oblique")), *NAMES)
    assert "drawn" not in whole
    assert whole["changed_voxels"] == (stored(opened) != drawn(elsewhere=UNKNOWN)).sum()
    opened.restore_label("oblique", 2)
    np.testing.assert_array_equal(stored(opened), drawn(elsewhere=UNKNOWN))
    assert opened.label_notes("oblique", "final")["drawn"] == ON_TWO


def test_labels_of_two_tasks_keep_what_is_unknown_of_each(opened: FolderStudies, submit: Submit) -> None:
    atrium = np.zeros_like(drawn())
    atrium[13:15, 2:4, 2:9] = 1
    submit(atrium, "atrium")
    submit(drawn(), *NAMES)
    info = opened.label_notes("oblique", "final")["label_info"]
    assert [entry["name"] for entry in info] == ["atrium", "organ_head", "organ_tail", "unknown (organ)"]
    shown = stored(opened)
    assert (shown == 1).sum() == atrium.sum(), "what is unknown of one hides nothing of the other"
    shown[4, 5, 4] = 0
    record = submit(shown, *[entry["name"] for entry in info])
    wanted = drawn(elsewhere=UNKNOWN)
    wanted[4, 5, 4] = 0
    np.testing.assert_array_equal(stored(opened, "final.organ"), wanted)
    assert (record["task"], record["drawn"]) == ("organ", ON_TWO)


def test_what_is_unknown_of_two_tasks_is_not_decided_for_both_at_once(
    opened: FolderStudies, submit: Submit
) -> None:
    """The map shows the unknown voxels of one; whoever draws over them says nothing of the other."""
    atrium = np.full_like(drawn(), 2)
    atrium[..., 3] = 0
    atrium[13:15, 2:4, 3] = 1
    submit(atrium, "atrium", "unknown")
    submit(drawn(), *NAMES)
    info = opened.label_notes("oblique", "final")["label_info"]
    shown = stored(opened)
    names = {entry["name"]: entry["idx"] for entry in info}
    assert {"unknown (heart)", "unknown (organ)"} <= names.keys()
    shown[4:8, 5:11, 5] = names["organ_head"]
    shown[0:2, 0:2, 5] = 0
    submit(shown, *[entry["name"] for entry in info])
    organ, heart = (stored(opened, f"final.{task}") for task in ("organ", "heart"))
    assert (organ[4:8, 5:11, 5] == 1).all()
    assert (organ[0:2, 0:2, 5] == UNKNOWN).all()
    np.testing.assert_array_equal(heart == UNKNOWN, atrium == 2)


def test_segments_of_two_tasks_share_what_is_unknown(opened: FolderStudies, submit: Submit) -> None:
    values = drawn(elsewhere=4)
    values[14, 3, 4] = 3
    record = submit(values, *NAMES[:2], "atrium", "unknown")
    assert record["stored"].keys() == {"organ", "heart"}
    assert (stored(opened, "final.heart") == UNKNOWN).sum() == (values == 4).sum()
    assert stored(opened, "final.heart")[14, 3, 4] == 1


@pytest.mark.parametrize(
    ("values", "names", "said", "told"),
    [
        (np.full_like(drawn(), 1), ("unknown",), {}, "nothing is drawn beside what is unknown"),
        (np.where(drawn() > 0, UNKNOWN, 0), (), {}, "nothing is drawn beside what is unknown"),
        (np.zeros_like(drawn()), NAMES[:2], {"known": "slices"}, "nothing is drawn"),
        (
            np.eye(17, 21, dtype=np.uint8)[..., None] * drawn(elsewhere=0).clip(0, 1),
            NAMES[:2],
            {"known": "slices"},
            "no slice is drawn",
        ),
        (drawn(), NAMES, {"known": "some"}, r"known is 'some'\. Say all or slices"),
    ],
    ids=["all unknown", "a mask of 255", "no slice", "single voxels", "another word"],
)
def test_what_says_nothing_is_refused_and_nothing_is_lost(
    values: NDArray[np.uint8], names: tuple[str, ...], said: dict[str, str], told: str,
    opened: FolderStudies, submit: Submit,
) -> None:  # fmt: skip
    submit(drawn(), *NAMES)
    with pytest.raises(DataError, match=told):
        submit(values.astype(np.uint8), *names, **said)
    np.testing.assert_array_equal(stored(opened), drawn(elsewhere=UNKNOWN))


def test_empty_slices_between_drawn_ones_are_told_where_nobody_says_that_they_are_unknown(
    opened: FolderStudies, submit: Submit
) -> None:
    values = voxels(make_label("oblique")).copy()
    values[..., 4::2] = 0
    remark = submit(values, *NAMES[:2])["remark"]
    assert remark.startswith(
        "Only 3 of 5 axial slices hold a class, and the empty ones teach that nothing is there"
    )
    assert "unknown_slices" in remark
    np.testing.assert_array_equal(stored(opened), values)
    assert "Only" not in submit(values, *NAMES[:2], known="slices")["remark"]
    assert submit(voxels(make_label("oblique")), *NAMES[:2])["remark"] == ""


def test_what_is_unknown_is_no_change_of_a_proposal() -> None:
    before, after = np.array([1, 1, 1, 0, 2]), np.array([1, 1, UNKNOWN, UNKNOWN, 2])
    assert compare(before, after, {"head": 1})["head"] == {"added": 0, "removed": 0, "dice": 1.0}


def test_what_another_task_newly_covers_stays_unknown() -> None:
    """The map shows the class of the other task alone, so it says nothing of this one."""
    old = {"heart": np.array([UNKNOWN, UNKNOWN, 1]), "organ": np.array([0, 0, 0])}
    new = {"heart": np.array([0, 0, 1]), "organ": np.array([2, 0, 0])}
    assert with_hidden(new, old)["heart"].tolist() == [UNKNOWN, 0, 1]


def test_people_agree_on_what_both_have_drawn(submit: Submit) -> None:
    submit(voxels(make_label("oblique")), *NAMES[:2], client_id="ann")
    found = submit(drawn(), *NAMES, client_id="bob")["agreement"]["classes"]
    assert [one["dice"] for one in found.values()] == [1.0, 1.0]


def test_a_partly_drawn_scan_teaches_and_does_not_validate(
    opened: FolderStudies, submit: Submit, tmp_path: Path
) -> None:
    for scan in SCANS:
        submit(drawn(scan), *NAMES, scan=scan)
    found = training_cases(opened, ORGAN, 0.5, tmp_path / "organ")
    assert {scan.name for scan in found.scans.labelled} == set(SCANS)
    assert found.cases.validation == ()
    assert validation_cases(opened, ORGAN, 0.5, tmp_path / "organ") == []
    (remark,) = label_remarks(found.scans.labelled, ORGAN)
    assert f"oblique ({ON_TWO})" in remark


def test_one_that_has_validated_does_not_teach(opened: FolderStudies, submit: Submit, tmp_path: Path) -> None:
    submit(drawn(), *NAMES)
    submit(voxels(make_label("straight")), *NAMES[:2], scan="straight")
    Roles(judged=frozenset({"oblique"})).write(tmp_path / "organ")
    found = training_cases(opened, ORGAN, 0.5, tmp_path / "organ")
    assert [scan.name for scan in found.scans.labelled] == ["straight"]
    assert "not drawn as a whole, and of a patient who validates" in found.refused["oblique"]


def test_the_overview_says_how_much_is_drawn(opened: FolderStudies, submit: Submit) -> None:
    submit(drawn(), *NAMES)
    overview = OverviewReader(opened).read()
    assert overview.scans["oblique"].drawn == ON_TWO
    assert [event.drawn for event in overview.events] == [ON_TWO]
    assert overview.partly_drawn == 1


def test_the_picture_shows_what_is_drawn(opened: FolderStudies, submit: Submit) -> None:
    submit(drawn(), *NAMES)
    found = draw_scan(opened, "oblique", [ORGAN])
    part = (drawn() == 1).sum() * Geometry.of(make_scan("oblique")).voxel_ml
    assert found.label_ml["organ_head"] == pytest.approx(part, abs=1e-3)

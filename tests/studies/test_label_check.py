from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from synthetic import ORGAN

from diffcl.errors import DataError, ScanError
from diffcl.geometry import Geometry, voxels
from diffcl.recipe import Recipe
from diffcl.studies.label_check import Proposal, Submission, check_label

GRID = Geometry(
    (12, 10, 8), (0.7, 0.9, 2.5), (-31.5, 12.25, 101.1), (0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0)
)


@pytest.fixture(scope="module")
def other() -> Recipe:
    """A second task, with one class."""
    return Recipe.model_validate({"name": "heart", "labels": [{"value": 1, "name": "atrium"}]})


def array() -> np.ndarray:
    values = np.zeros(GRID.size, np.uint8)
    values[2:5, 3:6, 1:4] = 1
    values[6:9, 3:6, 4:7] = 2
    return values


def check(
    image: sitk.Image,
    folder: Path,
    *tasks: Recipe,
    suffix: str = ".nii.gz",
    proposal: Proposal | None = None,
    **info: Any,
) -> Submission:
    (found,) = checks(image, folder, *tasks, suffix=suffix, proposal=proposal, **info)
    return found


def checks(
    image: sitk.Image,
    folder: Path,
    *tasks: Recipe,
    suffix: str = ".nii.gz",
    proposal: Proposal | None = None,
    **info: Any,
) -> list[Submission]:
    file = folder / f"received{suffix}"
    sitk.WriteImage(image, file)
    return check_label(file, GRID, tasks, info, "label of case1", proposal)


def info_of(*names: str, first: int = 1) -> list[dict[str, Any]]:
    """What Slicer sends for these segments; it counts those that it leaves out."""
    return [{"name": name, "idx": index} for index, name in enumerate(names, start=first)]


def test_a_label_on_the_grid_is_kept_voxel_by_voxel(tmp_path: Path) -> None:
    found = check(GRID.place(array()), tmp_path, ORGAN)
    np.testing.assert_array_equal(voxels(found.label), array())
    assert Geometry.of(found.label) == GRID
    assert (found.task, found.remark) == ("organ", "")
    assert found.classes == info_of("organ_head", "organ_tail")


def test_names_decide_when_segments_are_reordered(tmp_path: Path) -> None:
    found = check(GRID.place(array()), tmp_path, ORGAN, label_info=info_of("organ_tail", "organ_head"))
    np.testing.assert_array_equal(voxels(found.label), np.array([0, 2, 1], np.uint8)[array()])
    assert "renumbered" in found.remark


def test_segments_that_slicer_leaves_out_do_not_move_the_values(tmp_path: Path) -> None:
    found = check(
        GRID.place(array()), tmp_path, ORGAN, label_info=info_of("organ_head", "organ_tail", first=2)
    )
    np.testing.assert_array_equal(voxels(found.label), array())


def test_an_empty_segment_keeps_its_place(tmp_path: Path) -> None:
    only_second = np.where(array() == 2, array(), 0)
    found = check(GRID.place(only_second), tmp_path, ORGAN, label_info=info_of("organ_head", "organ_tail"))
    np.testing.assert_array_equal(voxels(found.label), only_second)


def test_an_idx_that_is_the_value_is_taken_as_the_value(tmp_path: Path) -> None:
    only_second = np.where(array() == 2, array(), 0)
    found = check(GRID.place(only_second), tmp_path, ORGAN, label_info=[{"name": "organ_tail", "idx": 2}])
    np.testing.assert_array_equal(voxels(found.label), only_second)
    swapped = [{"name": "organ_tail", "idx": 2}, {"name": "organ_head", "idx": 1}]
    np.testing.assert_array_equal(
        voxels(check(GRID.place(array()), tmp_path, ORGAN, label_info=swapped).label), array()
    )


def test_capitals_and_spaces_do_not_make_another_name(tmp_path: Path) -> None:
    found = check(GRID.place(array()), tmp_path, ORGAN, label_info=info_of(" Organ_Head", "ORGAN_TAIL "))
    assert found.task == "organ"


def test_an_unknown_segment_is_refused_with_the_names_there_are(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'Segment_2' are not known\. Known names: organ_head, organ_tail"):
        check(GRID.place(array()), tmp_path, ORGAN, label_info=info_of("organ_head", "Segment_2"))


def test_an_unknown_segment_without_voxels_does_no_harm(tmp_path: Path) -> None:
    names = info_of("organ_head", "organ_tail", "Segment_3")
    assert check(GRID.place(array()), tmp_path, ORGAN, label_info=names).task == "organ"


def test_a_value_without_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="value 2 has no name"):
        check(GRID.place(array()), tmp_path, ORGAN, label_info=info_of("organ_head"))


@pytest.mark.parametrize("listed", ["organ_head", [1, 2], [{"name": "organ_head"}], {"organ_head": 1}])
def test_a_label_info_of_another_form_is_refused(listed: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="label_info"):
        check(GRID.place(array()), tmp_path, ORGAN, label_info=listed)


def test_segments_of_two_tasks_are_taken_apart(other: Recipe, tmp_path: Path) -> None:
    values = array()
    values[9:11, 7:9, 5:7] = 3
    image = GRID.place(values)
    head, heart = checks(
        image, tmp_path, ORGAN, other, label_info=info_of("organ_tail", "organ_head", "atrium")
    )
    assert (head.task, heart.task) == ("organ", "heart")
    np.testing.assert_array_equal(voxels(head.label), np.array([0, 2, 1, 0])[values])
    np.testing.assert_array_equal(voxels(heart.label), np.array([0, 0, 0, 1])[values])
    assert heart.classes == info_of("atrium")
    assert heart.remark.startswith("It was taken apart into organ, heart.")


def test_the_preferred_task_comes_first_and_shared_segments_go_into_both(
    other: Recipe, tmp_path: Path
) -> None:
    both = Recipe.model_validate(
        {"name": "both", "labels": [{"value": 1, "name": "atrium"}, {"value": 2, "name": "aorta"}]}
    )
    names = info_of("organ_head", "aorta", "atrium")
    values = array()
    values[9:11, 7:9, 5:7] = 3
    found = checks(GRID.place(values), tmp_path, ORGAN, other, both, label_info=names)
    assert [one.task for one in found] == ["both", "organ"]
    np.testing.assert_array_equal(voxels(found[0].label), np.array([0, 0, 2, 1])[values])
    values[values == 1] = 2
    found = checks(GRID.place(values), tmp_path, other, both, label_info=names[1:], model="heart")
    assert [one.task for one in found] == ["both"]


def test_a_class_of_two_tasks_is_told_by_the_task_behind_it(other: Recipe, tmp_path: Path) -> None:
    like = Recipe.model_validate({"name": "like", "labels": [{"value": 1, "name": "atrium"}]})
    one, two = checks(
        GRID.place(array()), tmp_path, other, like, label_info=info_of("atrium (like)", "atrium")
    )
    assert {one.task, two.task} == {"heart", "like"}
    labels = {found.task: voxels(found.label) for found in (one, two)}
    np.testing.assert_array_equal(labels["like"] > 0, array() == 1)
    np.testing.assert_array_equal(labels["heart"] > 0, array() == 2)


def test_the_names_tell_the_task(other: Recipe, tmp_path: Path) -> None:
    one = GRID.place(np.minimum(array(), 1))
    assert check(one, tmp_path, ORGAN, other, label_info=info_of("atrium")).task == "heart"


def test_without_names_the_model_tells_the_task(other: Recipe, tmp_path: Path) -> None:
    one = GRID.place(np.minimum(array(), 1))
    assert check(one, tmp_path, ORGAN, other).task is None
    assert check(one, tmp_path, ORGAN, other, model="heart").task == "heart"


def test_without_names_an_unknown_value_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="values 1, 2, 7 are not classes"):
        check(GRID.place(array() + 5 * (array() == 2) * (np.arange(12) > 7)[:, None, None]), tmp_path, ORGAN)


def test_the_names_inside_a_segmentation_file_decide(tmp_path: Path) -> None:
    image = GRID.place(array())
    for key, value in {
        "Segment0_Name": "organ_tail", "Segment0_LabelValue": "1",
        "Segment1_Name": "organ_head", "Segment1_LabelValue": "2",
    }.items():  # fmt: skip
        image.SetMetaData(key, value)
    names = info_of("organ_head", "organ_tail")
    found = check(image, tmp_path, ORGAN, suffix=".seg.nrrd", label_info=names)
    np.testing.assert_array_equal(voxels(found.label), np.array([0, 2, 1], np.uint8)[array()])


def test_a_label_of_part_of_the_scan_lands_where_it_was(tmp_path: Path) -> None:
    part = GRID.place(array())[1:11, 2:8, 1:8]
    found = check(part, tmp_path, ORGAN)
    np.testing.assert_array_equal(voxels(found.label), array())
    assert found.remark == ""


def test_a_label_with_turned_axes_lands_where_it_was(tmp_path: Path) -> None:
    turned = sitk.Flip(sitk.PermuteAxes(GRID.place(array()), (2, 0, 1)), (True, False, True))
    found = check(turned, tmp_path, ORGAN)
    np.testing.assert_array_equal(voxels(found.label), array())
    assert Geometry.of(found.label) == GRID


@pytest.mark.parametrize(
    "wrong",
    [
        Geometry(GRID.size, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0)),
        Geometry(GRID.size, GRID.spacing, (-31.5, 12.25, 111.1), GRID.direction),
        Geometry((24, 10, 8), GRID.spacing, GRID.origin, GRID.direction),
    ],
    ids=["no geometry", "another place", "another size"],
)
def test_a_label_that_reaches_beyond_the_scan_is_refused(wrong: Geometry, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="reaches beyond"):
        check(wrong.place(np.ones(wrong.size, np.uint8)), tmp_path, ORGAN)


def test_what_the_file_format_rounds_is_the_same_grid(tmp_path: Path) -> None:
    near = Geometry(GRID.size, GRID.spacing, (-31.501, 12.251, 101.1), GRID.direction)
    assert check(near.place(array()), tmp_path, ORGAN).remark == ""


def test_a_scan_is_not_a_label(tmp_path: Path) -> None:
    with pytest.raises(ScanError):
        check(GRID.place(array().astype(np.float32) / 3), tmp_path, ORGAN)


class TestCheckHere:
    """A label that still holds the segment that marks where to look."""

    NAMES = ("organ_head", "organ_tail", "check_here")

    @staticmethod
    def marked() -> np.ndarray:
        values = array()
        values[4:7, 3:6, 1:6] = 3  # over parts of both classes and of the background
        return values

    def test_its_voxels_become_what_was_proposed(self, tmp_path: Path) -> None:
        found = check(
            GRID.place(self.marked()), tmp_path, ORGAN, label_info=info_of(*self.NAMES),
            proposal=Proposal(array(), "organ", True),
        )  # fmt: skip
        np.testing.assert_array_equal(voxels(found.label), array())
        assert found.classes == info_of("organ_head", "organ_tail")
        assert found.remark == "The segment check_here was left out."

    def test_what_was_corrected_elsewhere_stays(self, tmp_path: Path) -> None:
        corrected = self.marked()
        corrected[2, 3:6, 1:4] = 0
        found = check(
            GRID.place(corrected), tmp_path, ORGAN, label_info=info_of(*self.NAMES),
            proposal=Proposal(array(), "organ", True),
        )  # fmt: skip
        expected = array()
        expected[2, 3:6, 1:4] = 0
        np.testing.assert_array_equal(voxels(found.label), expected)

    def test_it_may_stand_anywhere_among_the_segments(self, tmp_path: Path) -> None:
        moved = np.array([0, 2, 3, 1], np.uint8)[self.marked()]
        names = ("check_here", "organ_head", "organ_tail")
        found = check(
            GRID.place(moved), tmp_path, ORGAN, label_info=info_of(*names),
            proposal=Proposal(array(), "organ", True),
        )  # fmt: skip
        np.testing.assert_array_equal(voxels(found.label), array())

    @pytest.mark.parametrize(
        "proposal",
        [None, Proposal(None, "organ", True), Proposal(array(), "heart", True)],
        ids=["none", "lost", "of another task"],
    )
    def test_without_the_proposal_the_nearest_class_counts(
        self, proposal: Proposal | None, tmp_path: Path
    ) -> None:
        values = array()
        values[3:4, 4:5, 2:3] = 3  # inside the first class
        values[0:1, 9:10, 7:8] = 3  # far outside
        found = check(GRID.place(values), tmp_path, ORGAN, label_info=info_of(*self.NAMES), proposal=proposal)
        np.testing.assert_array_equal(voxels(found.label), array())

    def test_a_file_without_names_is_understood_where_it_was_proposed_so(
        self, other: Recipe, tmp_path: Path
    ) -> None:
        found = check(
            GRID.place(self.marked()), tmp_path, other, ORGAN, proposal=Proposal(array(), "organ", True)
        )
        np.testing.assert_array_equal(voxels(found.label), array())
        with pytest.raises(DataError, match="values 1, 2, 3 are not classes"):
            check(
                GRID.place(self.marked()), tmp_path, other, ORGAN, proposal=Proposal(array(), "organ", False)
            )

    def test_an_empty_one_does_no_harm(self, tmp_path: Path) -> None:
        found = check(GRID.place(array()), tmp_path, ORGAN, label_info=info_of(*self.NAMES))
        np.testing.assert_array_equal(voxels(found.label), array())
        assert found.remark == ""

    def test_a_label_of_nothing_else_is_empty(self, tmp_path: Path) -> None:
        only = np.where(array() == 1, 1, 0).astype(np.uint8)
        found = check(GRID.place(only), tmp_path, ORGAN, label_info=info_of("check_here"))
        assert not voxels(found.label).any()

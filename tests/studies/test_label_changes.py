from __future__ import annotations

import numpy as np

from diffcl.studies.label_changes import compare


def test_nothing_changed_is_a_dice_of_one() -> None:
    values = np.array([0, 1, 2, 2])
    assert compare(values, values, {"head": 1, "tail": 2, "absent": 3}) == {
        name: {"added": 0, "removed": 0, "dice": 1.0} for name in ("head", "tail", "absent")
    }


def test_a_voxel_that_changes_class_leaves_one_and_joins_the_other() -> None:
    found = compare(np.array([1, 1, 2, 2, 0]), np.array([1, 2, 2, 2, 0]), {"head": 1, "tail": 2})
    assert found["head"] == {"added": 0, "removed": 1, "dice": round(2 / 3, 4)}
    assert found["tail"] == {"added": 1, "removed": 0, "dice": 0.8}


def test_a_class_that_was_not_proposed_has_no_overlap() -> None:
    assert compare(np.zeros(3), np.ones(3), {"head": 1})["head"] == {"added": 3, "removed": 0, "dice": 0.0}

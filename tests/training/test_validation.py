"""Validation scans are read when they are wanted, and are what they were when the training began."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from diffcl.data.cases import Cases
from diffcl.geometry import Geometry, voxels
from diffcl.io import read_label, read_scan
from diffcl.recipe import Recipe
from diffcl.training.validation import read_validation, smallest


@pytest.mark.parametrize("cached", [True, False])
def test_a_validation_scan_is_the_scan_to_the_bit(
    cases: Cases, recipe: Recipe, tmp_path: Path, cached: bool
) -> None:
    case = cases.validation[0]
    wanted = read_scan(case.image)
    both = [read_validation(case, recipe, tmp_path / "prepared" if cached else None) for _ in range(2)]
    shutil.rmtree(tmp_path / "prepared", ignore_errors=True)
    for found in both:
        assert found.name == found.scan.name == case.name
        assert Geometry.of(found.scan.image) == Geometry.of(found.truth) == Geometry.of(wanted.image)
        assert found.scan.image.GetPixelID() == wanted.image.GetPixelID()
        assert voxels(found.scan.image).tobytes() == voxels(wanted.image).tobytes()
        assert np.array_equal(voxels(found.truth), voxels(read_label(case.label)))


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([-32768, 0, 32767], "int16"),
        ([0, 32768], "float32"),
        ([0, -32769], "float32"),
        ([0.5, 2], "float32"),
        ([-0.0, 1], "float32"),
    ],
    ids=["all of int16", "above", "below", "between", "negative zero"],
)
def test_values_take_half_the_memory_where_that_changes_none(values: list[float], kind: str) -> None:
    given = np.array(values, np.float32).reshape(1, 1, -1)
    found = smallest(given)
    assert found.dtype == kind
    assert found.astype(np.float32).tobytes() == given.tobytes()

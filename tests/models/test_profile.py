"""A scan unlike those of the training is warned of, one like them is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from diffcl.data.preprocess import prepare
from diffcl.data.traits import traits
from diffcl.geometry import Geometry
from diffcl.io import Scan
from diffcl.models.profile import Profile
from diffcl.recipe import Recipe

STRAIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
SAGITTAL = (0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, -1.0, 0.0)


def scan(
    size: tuple[int, int, int] = (40, 50, 36),
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    *,
    seed: int = 0,
    direction: tuple[float, ...] = STRAIGHT,
    modality: str | None = None,
    power: float = 1.0,
) -> Scan:
    values = np.random.default_rng(seed).random(size) ** power * 900
    grid = Geometry(size, spacing, (0.0, 0.0, 0.0), direction)
    return Scan(grid.place(values.astype(np.float32)), "a", Path("a.nii.gz"), modality)


@pytest.fixture
def profile(recipe: Recipe) -> Profile:
    seen = [scan((38 + n, 48 + n, 34 + n), seed=n) for n in range(5)]
    return Profile.of((traits(prepare(one, recipe)) for one in seen), "MR")


def test_traits_follow_the_anatomy_not_the_order_of_axes(recipe: Recipe) -> None:
    found = traits(prepare(scan((25, 19, 9), (1.0, 1.2, 3.0), direction=SAGITTAL), recipe))
    spacing = [found[f"spacing {axis}"] for axis in ("right-left", "front-back", "foot-head")]
    assert spacing == [3.0, 1.0, 1.2]


def test_a_scan_like_the_others_is_fine(profile: Profile, recipe: Recipe) -> None:
    usual = scan(seed=9, modality="MR")
    assert profile.warnings(usual, prepare(usual, recipe)) == []


@pytest.mark.parametrize(
    ("unusual", "sentence"),
    [
        (scan((40, 50, 9), (1.0, 1.0, 4.0)), "spacing foot-head is 4 mm between voxels"),
        (scan((120, 120, 5)), "extent right-left is 120 mm; the model was trained on 39 to 42"),
        (scan(power=9.0), "brightness is"),
        (scan(modality="CT"), "The scan is CT; the model was trained on MR."),
    ],
    ids=["spacing", "size", "intensity", "modality"],
)
def test_each_difference_is_said(profile: Profile, recipe: Recipe, unusual: Scan, sentence: str) -> None:
    warnings = profile.warnings(unusual, prepare(unusual, recipe))
    assert any(sentence in warning for warning in warnings), warnings


@pytest.mark.parametrize(
    ("ranges", "told"),
    [
        ({"sharpness": (0, 1)}, "'sharpness' is no trait of a scan"),
        ({"extent head-foot": (0, 1)}, "known are spacing right-left"),
        ({"brightness": (1, 0)}, "brightness of 1 to 0 is no range"),
        ({"contrast": (0, float("inf"))}, "finite"),
        ({"contrast": (float("nan"), 1)}, "finite"),
    ],
    ids=["unknown", "misspelt", "turned", "infinite", "no number"],
)
def test_a_range_that_would_fail_at_every_prediction_is_refused_when_the_model_is_read(
    ranges: dict[str, tuple[float, float]], told: str
) -> None:
    with pytest.raises(ValidationError, match=told):
        Profile(ranges=ranges, modality="MR")


def test_every_trait_of_a_scan_may_have_a_range(recipe: Recipe) -> None:
    usual = scan()
    prepared = prepare(usual, recipe)
    ranges = {name: (value, value) for name, value in traits(prepared).items()}
    assert Profile(ranges=ranges, modality="MR").warnings(usual, prepared) == []

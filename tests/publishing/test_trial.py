"""A model that would take the machine away is refused in one line before it is published; others predict."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from diffcl.errors import ModelError
from diffcl.models import ModelInfo
from diffcl.models.profile import Profile
from diffcl.models.weights import save_model
from diffcl.networks.cs import ConvolutionSegmenter
from diffcl.networks.ds import DiffusionSegmenter
from diffcl.publishing import trial
from diffcl.publishing.trial import largest_extent, one_window, try_prediction
from diffcl.recipe import Recipe

EXTENT = {
    "extent right-left": (30.0, 40.0),
    "extent front-back": (30.0, 45.0),
    "extent foot-head": (20.0, 30.0),
}


def saved(folder: Path, recipe: Recipe, **extent: tuple[float, float]) -> Path:
    """A model with random weights in a folder."""
    torch.manual_seed(0)
    profile = Profile(modality="MR", ranges=extent or EXTENT)
    info = ModelInfo(name="organ", version=1, created="", recipe=recipe, profile=profile)
    folder.mkdir()
    save_model(folder, info, ConvolutionSegmenter(recipe), DiffusionSegmenter(recipe))
    return folder


def refused(folder: Path, *profiles: Profile) -> str:
    with pytest.raises(ModelError, match="model organ: ") as caught:
        try_prediction(folder, "model organ", profiles)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_model_that_predicts_passes(recipe: Recipe, tmp_path: Path) -> None:
    try_prediction(saved(tmp_path / "model", recipe), "model organ")


def test_a_grid_too_fine_for_the_scans_of_the_task_is_refused_before_anything_is_computed(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "TRIAL_SECONDS", 0.0)
    folder = saved(tmp_path / "model", recipe.changed(grid={"spacing": [0.2, 0.2, 0.2]}))
    whole = dict.fromkeys(EXTENT, (300.0, 400.0))
    told = refused(folder, Profile(modality="CT", ranges=whole))
    assert "GiB of memory for a scan of 400 x 400 x 400 mm" in told
    assert "coarser grid.spacing" in told


def test_one_that_would_take_hours_for_a_scan_is_refused(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "LONGEST_SECONDS", 0.001)
    assert "minutes for a scan of 40 x 45 x 30 mm" in refused(saved(tmp_path / "model", recipe))


def test_one_that_does_not_answer_in_time_is_stopped(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "TRIAL_SECONDS", 0.05)
    assert "did not predict one window within 0 s" in refused(saved(tmp_path / "model", recipe))


def test_one_that_needs_more_memory_than_there_may_be_is_stopped(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "WINDOW_BYTES", 2**20)
    large = recipe.changed(grid={"window": [128, 128, 128]})
    assert "could not predict one window" in refused(saved(tmp_path / "model", large))


def test_one_without_weights_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    folder = saved(tmp_path / "model", recipe)
    (folder / "weights.safetensors").unlink()
    assert "weights.safetensors" in refused(folder)


def test_the_largest_known_scan_counts() -> None:
    large = Profile(modality="MR", ranges={"extent foot-head": (10.0, 90.0)})
    assert largest_extent([Profile(modality="MR", ranges=EXTENT), large]) == (40.0, 45.0, 90.0)


def test_the_scan_of_the_trial_suits_every_recipe(recipe: Recipe) -> None:
    ct = recipe.changed(intensity={"method": "window", "low": -125.0, "high": 275.0})
    for one in (recipe, ct):
        assert one_window(one).image.GetSize() == one.grid.window

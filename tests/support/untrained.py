"""Small untrained ensembles, and scans on awkward grids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from synthetic import fill_with

from diffcl.geometry import Geometry
from diffcl.io import Scan
from diffcl.models import Model, ModelInfo, ModelRegistry
from diffcl.models.profile import Profile
from diffcl.networks.cs import ConvolutionSegmenter
from diffcl.networks.ds import DiffusionSegmenter
from diffcl.recipe import Recipe, parse_recipe

NETWORK = {"filters": [4, 8, 8], "blocks": [1, 1, 1], "projection": 4}
SLANT = sitk.Euler3DTransform()
SLANT.SetRotation(0.3, -0.2, 0.4)
GRIDS = {
    "straight": Geometry((24, 20, 18), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1)),
    "oblique, anisotropic, odd": Geometry(
        (23, 31, 7), (1.1, 0.8, 4.0), (-30.0, 7.5, 99.0), SLANT.GetMatrix()
    ),
    "flipped": Geometry((21, 25, 19), (1.3, 1.2, 1.4), (5.0, -4.0, 3.0), (-1, 0, 0, 0, -1, 0, 0, 0, 1)),
    "sagittal": Geometry((25, 19, 9), (1.0, 1.0, 3.0), (5.0, -4.0, 3.0), (0, 0, 1, 1, 0, 0, 0, -1, 0)),
}


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    """Two classes, windows smaller than the scans."""
    return parse_recipe(
        {
            "name": "organ",
            "labels": [{"value": 1, "name": "head"}, {"value": 2, "name": "tail"}],
            "grid": {"spacing": [1.5, 1.5, 1.5], "window": [12, 12, 12], "crop": [8, 8, 8]},
            "cs": {**NETWORK, "hf_mamba_levels": [0], "hf_mamba_width": 4, "hf_mamba_state": 2},
            "ds": {**NETWORK, "time_features": 8},
            "diffusion": {"sampling_steps": 1},
            "inference": {"largest_component": False, "overlap": 0.25},
        },
        "test",
    )


@pytest.fixture(scope="session")
def model(recipe: Recipe) -> Model:
    """An ensemble with random weights."""
    torch.manual_seed(0)
    info = ModelInfo(name="organ", version=3, created="2026", recipe=recipe, profile=Profile(modality="MR"))
    cs, ds = ConvolutionSegmenter(recipe), DiffusionSegmenter(recipe)
    return Model(info, cs.eval(), ds.eval(), torch.device("cpu"))


@pytest.fixture(params=list(GRIDS), ids=list(GRIDS))
def scan(request: pytest.FixtureRequest) -> Scan:
    """A scan of noise on each of the grids."""
    return make_scan(GRIDS[request.param])


def make_scan(grid: Geometry) -> Scan:
    """A scan of noise."""
    values = np.random.default_rng(0).gamma(2, 50, grid.size).astype(np.float32)
    return Scan(grid.place(values), "noise", Path("noise.nii.gz"))


@pytest.fixture
def folder(model: Model, tmp_path: Path) -> Path:
    """The first version of a model in a store."""
    return ModelRegistry(tmp_path / "store").add("organ", fill_with(model))

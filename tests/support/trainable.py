"""A small task that trains in seconds: a bright organ with a head and a tail, on slanted grids."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from diffcl.data.cases import Cases, find_cases
from diffcl.geometry import Geometry
from diffcl.recipe import Recipe, parse_recipe

NETWORK = {"filters": [4, 8], "blocks": [1, 1], "projection": 4}


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    """Networks of a few weights, six steps of tiny crops, every part of the method switched on."""
    return parse_recipe(
        {
            "name": "organ",
            "labels": [{"value": 1, "name": "head"}, {"value": 2, "name": "tail"}],
            "grid": {"spacing": [2.0, 2.0, 2.0], "window": [16, 16, 16], "crop": [8, 8, 8]},
            "cs": {**NETWORK, "hf_mamba_levels": [0], "hf_mamba_width": 4, "hf_mamba_state": 2},
            "ds": {**NETWORK, "time_features": 8},
            "diffusion": {"sampling_steps": 1},
            "losses": {"ramp": 0.5},
            "contrastive": {
                "bank": 32, "draws": 4, "candidates": 60, "positives": 4, "negatives": 8, "confidence": 0.0,
            },
            "training": {
                "steps": 6, "supervised_start": 2, "mix": 0.5, "validate_every": 3, "checkpoint_every": 2,
                "precision": "float32",
            },
        },
        "test",
    )  # fmt: skip


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six scans with labels; whoever opens those of `scan3` and `scan4`, unlabelled in tests, waits for ever."""
    folder = tmp_path_factory.mktemp("data")
    for kind in ("images", "labels"):
        (folder / kind).mkdir()
    for number in range(6):
        scan, label = organ(number)
        sitk.WriteImage(scan, folder / "images" / f"scan{number}.nii.gz")
        sitk.WriteImage(label, folder / "labels" / f"scan{number}.nii.gz")
    for number in (3, 4):
        label = folder / "labels" / f"scan{number}.nii.gz"
        label.unlink()
        os.mkfifo(label)
    return folder


@pytest.fixture
def cases(data: Path) -> Cases:
    """Three labelled, two unlabelled, one for validation."""
    return find_cases(data, labelled=3, validation=1)


def organ(number: int) -> tuple[sitk.Image, sitk.Image]:
    """A scan and its label, of another size, place and slant for every number."""
    rotation = sitk.Euler3DTransform()
    rotation.SetRotation(0.1 * number, -0.05 * number, 0.2)
    size = (20 + number, 18, 11 + number)
    grid = Geometry(size, (1.8, 1.9, 2.6), (10.0 * number, -5.0, 3.0), rotation.GetMatrix())
    random = np.random.default_rng(number)
    label = np.zeros(size, np.uint8)
    label[5:10, 5:12, 3:8] = 1
    label[10:15, 5:12, 3:8] = 2
    values = random.normal(100, 10, size) + np.array([0, 150, 80])[label]
    return grid.place(values.astype(np.float32)), grid.place(label)

"""The app with a tiny untrained model and synthetic scans of awkward geometry."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from diffcl.data.grid import Geometry
from diffcl.inference import ModelInfo, ModelStore
from diffcl.inference.model import save_model
from diffcl.inference.profile import Profile
from diffcl.networks.cs import ConvolutionSegmenter
from diffcl.networks.ds import DiffusionSegmenter
from diffcl.recipe import Recipe
from diffcl.shipped import app_folder

sys.path.insert(0, str(app_folder()))
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # monailabel and what it imports use deprecated modules
    import monailabel.endpoints.infer
    import monailabel.interfaces.app  # noqa: F401
    from monailabel.utils.others.class_utils import get_class_of_subclass_from_file

ORGAN = {
    "name": "organ",
    "labels": [{"value": 1, "name": "organ_head"}, {"value": 2, "name": "organ_tail"}],
    "grid": {"spacing": [1.5, 1.5, 1.5], "window": [16, 16, 16], "crop": [16, 16, 16]},
    "cs": {
        "filters": [4, 8],
        "blocks": [1, 1],
        "hf_mamba_levels": [0],
        "hf_mamba_width": 4,
        "hf_mamba_state": 2,
    },
    "ds": {"filters": [4, 8], "blocks": [1, 1], "time_features": 8},
    "diffusion": {"sampling_steps": 1},
}
GEOMETRIES = {
    "straight": ((20, 18, 16), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (1, 1, 1)),
    "oblique": ((17, 21, 13), (0.9, 1.1, 2.5), (-31.5, 12.25, 101.1), (0.3, -0.2, 0.5), (1, 1, 1)),
    "flipped": ((19, 16, 22), (1.2, 1.2, 1.2), (40.0, -7.5, 3.3), (0.0, 0.0, 0.0), (-1, -1, 1)),
    "anisotropic": ((24, 24, 9), (0.7, 0.7, 4.0), (5.0, 6.0, -70.0), (0.0, 0.1, 0.0), (1, -1, -1)),
}
"""Name of a scan: size, spacing in mm, origin in mm, rotations in radians, direction of each axis."""


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    """A task with two classes and networks of a few weights."""
    return Recipe.model_validate(ORGAN)


@pytest.fixture(scope="session")
def publish(recipe: Recipe) -> Callable[[ModelStore], Path]:
    """Publishes a new version of an untrained model `organ`."""

    def add(store: ModelStore) -> Path:
        def fill(folder: Path, number: int) -> None:
            info = ModelInfo(
                name="organ",
                version=number,
                created="2026-01-01",
                recipe=recipe,
                profile=Profile(modality="MR"),
            )
            save_model(folder, info, ConvolutionSegmenter(recipe), DiffusionSegmenter(recipe))

        return store.add("organ", fill)

    return add


@pytest.fixture
def store(tmp_path: Path, publish: Callable[[ModelStore], Path]) -> ModelStore:
    """A store with the first version of `organ`."""
    store = ModelStore(tmp_path / "store")
    publish(store)
    return store


@pytest.fixture(scope="session")
def scan_of() -> Callable[[str], sitk.Image]:
    """Makes the synthetic scan of a name; see `GEOMETRIES`."""
    return make_scan


@pytest.fixture(scope="session")
def label_of() -> Callable[[str], sitk.Image]:
    """Makes a label with both classes for the synthetic scan of a name."""
    return lambda name: make_label(make_scan(name))


def make_scan(name: str) -> sitk.Image:
    """The synthetic scan of that name: a bright box in noise."""
    size, spacing, origin, angles, flips = GEOMETRIES[name]
    values = np.random.default_rng(len(name)).normal(100, 10, size)
    values[4:12, 5:11, 3:8] += 200
    rotation = sitk.Euler3DTransform()
    rotation.SetRotation(*angles)
    axes = np.reshape(rotation.GetMatrix(), (3, 3)) * np.array(flips)
    return Geometry(size, spacing, origin, tuple(axes.ravel())).place(values.astype(np.float32))


def make_label(scan: sitk.Image) -> sitk.Image:
    """A label with both classes on the grid of a scan."""
    grid = Geometry.of(scan)
    values = np.zeros(grid.size, np.uint8)
    values[4:8, 5:11, 3:8] = 1
    values[8:12, 5:11, 3:8] = 2
    return grid.place(values)


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """A folder, with a space in its name, of four scans without labels."""
    folder = tmp_path / "my studies"
    folder.mkdir()
    for name in GEOMETRIES:
        sitk.WriteImage(make_scan(name), folder / f"{name}.nii.gz")
    return folder


@pytest.fixture
def label_file(tmp_path: Path) -> Path:
    """A label for the scan `oblique`."""
    path = tmp_path / "label.nii.gz"
    sitk.WriteImage(make_label(make_scan("oblique")), path)
    return path


@pytest.fixture
def app(studies: Path, store: ModelStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The app as MONAI Label finds and builds it."""
    from monailabel.config import settings

    monkeypatch.setattr(settings, "MONAI_LABEL_SESSION_PATH", str(tmp_path / "sessions"))
    found = get_class_of_subclass_from_file("main", str(app_folder() / "main.py"), "MONAILabelApp")
    return found(
        app_dir=str(app_folder()),
        studies=str(studies),
        conf={"store": str(store.folders[0]), "models": "organ"},
    )

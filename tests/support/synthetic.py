"""A task, an untrained model and scans of awkward geometry, made in a moment for tests of the app."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from diffcl.geometry import Geometry
from diffcl.models import Model, ModelInfo, ModelRegistry
from diffcl.models.profile import Profile
from diffcl.models.weights import save_model
from diffcl.networks.cs import ConvolutionSegmenter
from diffcl.networks.ds import DiffusionSegmenter
from diffcl.recipe import Recipe

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ORGAN_TOML = """
name = "organ"

[[labels]]
value = 1
name = "organ_head"
type = { value = "69536005", meaning = "Head" }

[[labels]]
value = 2
name = "organ_tail"
type = { value = "78961009", meaning = "Spleen" }

[grid]
spacing = [1.5, 1.5, 1.5]
window = [16, 16, 16]
crop = [16, 16, 16]

[cs]
filters = [4, 8]
blocks = [1, 1]
hf_mamba_levels = [0]
hf_mamba_width = 4
hf_mamba_state = 2

[ds]
filters = [4, 8]
blocks = [1, 1]
time_features = 8

[diffusion]
sampling_steps = 1
"""
"""A task with two classes and networks of a few weights."""

ORGAN = Recipe.model_validate(tomllib.loads(ORGAN_TOML))

GEOMETRIES = {
    "straight": ((20, 18, 16), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (1, 1, 1)),
    "oblique": ((17, 21, 13), (0.9, 1.1, 2.5), (-31.5, 12.25, 101.1), (0.3, -0.2, 0.5), (1, 1, 1)),
    "flipped": ((19, 16, 22), (1.2, 1.2, 1.2), (40.0, -7.5, 3.3), (0.0, 0.0, 0.0), (-1, -1, 1)),
    "anisotropic": ((24, 24, 9), (0.7, 0.7, 4.0), (5.0, 6.0, -70.0), (0.0, 0.1, 0.0), (1, -1, -1)),
}
"""Name of a scan: size, spacing in mm, origin in mm, rotations in radians, direction of each axis."""

SCANS = sorted(GEOMETRIES)


def make_scan(name: str) -> sitk.Image:
    """The scan of that name: a bright box in noise."""
    size, spacing, origin, angles, flips = GEOMETRIES[name]
    values = np.random.default_rng(len(name)).normal(100, 10, size)
    values[4:12, 5:11, 3:8] += 200
    rotation = sitk.Euler3DTransform()
    rotation.SetRotation(*angles)
    axes = np.reshape(rotation.GetMatrix(), (3, 3)) * np.array(flips)
    return Geometry(size, spacing, origin, tuple(axes.ravel())).place(values.astype(np.float32))


def make_label(name: str) -> sitk.Image:
    """A label with both classes for the scan of that name: the box, cut in two."""
    grid = Geometry.of(make_scan(name))
    values = np.zeros(grid.size, np.uint8)
    values[4:8, 5:11, 3:8] = 1
    values[8:12, 5:11, 3:8] = 2
    return grid.place(values)


def make_studies(folder: Path) -> Path:
    """A folder with all scans and no label."""
    folder.mkdir(parents=True)
    for name in SCANS:
        sitk.WriteImage(make_scan(name), folder / f"{name}.nii.gz")
    return folder


def fill_with(model: Model) -> Callable[[Path, int], None]:
    """What a store asks for to add a version with the networks of a model."""

    def fill(folder: Path, number: int) -> None:
        save_model(folder, model.info.model_copy(update={"version": number}), model.cs, model.ds)

    return fill


SEEN = Profile(modality="MR")
"""What a model has seen that has seen all sizes."""

CROPS = Profile(ranges={"extent foot-head": (5.0, 6.0)}, modality="MR")
"""What a model has seen that has seen small crops only."""


def publish_untrained(store: ModelRegistry, profile: Profile = SEEN, recipe: Recipe = ORGAN) -> Path:
    """Publish a new version of the model of a task; its folder. Its weights are drawn, the same for each version."""

    def fill(folder: Path, number: int) -> None:
        info = ModelInfo(
            name=recipe.name,
            version=number,
            created="2026-01-01",
            recipe=recipe,
            profile=profile,
            provenance={"labelled": ["a", "b"], "unlabelled": ["c"], "validation": []},
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3 + number)  # both classes are found in all scans, by the first versions
            cs, ds = ConvolutionSegmenter(recipe), DiffusionSegmenter(recipe)
        save_model(folder, info, cs, ds)

    return store.add(recipe.name, fill)


def same_place(one: sitk.Image, other: sitk.Image) -> bool:
    """Whether two images have the same voxels in space."""
    return one.GetSize() == other.GetSize() and all(
        np.allclose(getattr(one, get)(), getattr(other, get)(), atol=1e-5)
        for get in ("GetOrigin", "GetSpacing", "GetDirection")
    )

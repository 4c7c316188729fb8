"""Models as files that somebody sends."""

from __future__ import annotations

import io
from pathlib import Path
from zipfile import ZipFile

from synthetic import ORGAN

from diffcl.models import ModelInfo
from diffcl.models.archive import open_package
from diffcl.models.profile import Profile
from diffcl.models.weights import save_model
from diffcl.networks.cs import ConvolutionSegmenter
from diffcl.networks.ds import DiffusionSegmenter
from diffcl.recipe import Recipe


def package(tmp_path: Path, recipe: Recipe = ORGAN, name: str = "theirs") -> io.BytesIO:
    """A model as a colleague sends it, with scores that nobody has seen."""
    folder = tmp_path / "package"
    folder.mkdir(exist_ok=True)
    info = ModelInfo(
        name=name, version=7, created="2026-01-01T00:00:00+00:00", recipe=recipe,
        scores={"ensemble": {"dice": 1.0}}, profile=Profile(modality="MR"),
    )  # fmt: skip
    save_model(folder, info, ConvolutionSegmenter(recipe), DiffusionSegmenter(recipe))
    archive = io.BytesIO()
    with ZipFile(archive, "w") as made:
        for path in folder.iterdir():
            made.write(path, path.name)
    return archive


def opened_here(archive: Path, folder: Path, where: str) -> float:
    """In place of the process that tries a model, where only what follows from its verdict is looked at."""
    with archive.open("rb") as content:
        open_package(content, folder, where)
    return 1.0

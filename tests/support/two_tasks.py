"""A studies folder that is served for two tasks, and labels of them as the viewers submit them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray
from synthetic import ORGAN, make_scan

from diffcl.geometry import Geometry
from diffcl.recipe import Recipe
from diffcl.studies.folder import FolderStudies

HEART = Recipe.model_validate({"name": "heart", "labels": [{"value": 1, "name": "atrium"}]})

Submit = Callable[..., dict[str, Any]]


@pytest.fixture
def opened(studies: Path) -> FolderStudies:
    return FolderStudies(studies, lambda: [ORGAN, HEART])


@pytest.fixture
def submit(opened: FolderStudies, tmp_path: Path) -> Submit:
    """Submits values for a scan with the names of the segments 1, 2, ..., as Slicer does."""

    def send(
        values: NDArray[np.uint8], *names: str, scan: str = "oblique", tag: str = "final", **more: Any
    ) -> dict[str, Any]:
        file = tmp_path / "sent.nii.gz"
        sitk.WriteImage(Geometry.of(make_scan(scan)).place(values), file)
        listed = [{"name": name, "idx": number} for number, name in enumerate(names, start=1)]
        return opened.save_label(scan, file, tag, {**({"label_info": listed} if names else {}), **more})

    return send

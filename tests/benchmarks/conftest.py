"""A folder of sets, as benchmarks of trainings take it."""

from __future__ import annotations

from pathlib import Path

import pytest
import SimpleITK as sitk
from tube import TINY_NETWORKS, TUBE

from diffcl.phantom import make_phantom, phantom_grid


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """One set of six small scans; five have a label."""
    folder = tmp_path / "sets" / "tube"
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    (folder / "names.toml").write_text(TUBE + TINY_NETWORKS)
    made = make_phantom(0, phantom_grid(spacing=(3.0, 3.0, 6.0)))
    order = ["p0", "p1", "p2", "p3", "new", "p4"]
    for name in order:
        sitk.WriteImage(made.image, folder / "images" / f"{name}.nii.gz")
        if name != "new":
            sitk.WriteImage(made.label, folder / "labels" / f"{name}.nii.gz")
    (folder / "train.txt").write_text("\n".join(order))
    return folder.parent

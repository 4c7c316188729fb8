"""What a first look saves on scans, and whether the label stays the same.

    python benchmarks/first_look.py --model hippocampus head.nii.gz
    python benchmarks/first_look.py --model left_atrium --noise 192

Every scan is read closely everywhere, and then with a first look. Counted are the windows that the networks are asked
of (those of the look, of CS alone, among them), seconds, and voxels whose class differs.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from processor import processor
from report import show

from diffcl.geometry import Geometry, voxels
from diffcl.inference import Predictor
from diffcl.io import Scan, read_scan
from diffcl.models import Model, ModelRegistry
from diffcl.resources import models_folder

AXES = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def noise(model: Model, side: int) -> Scan:
    """A cube of noise on the grid of a model."""
    grid = Geometry((side,) * 3, model.info.recipe.grid.spacing, (0.0, 0.0, 0.0), AXES)
    values = np.random.default_rng(0).normal(size=grid.size).astype(np.float32)
    return Scan(grid.place(values), f"noise {side}", Path("noise"))


def predicted(model: Model, scan: Scan, *, first_look: bool) -> tuple[Any, dict[str, float]]:
    """The label, and what it took."""
    recipe = model.info.recipe.changed(inference={"first_look": first_look})
    asked = [0]
    start = time.perf_counter()
    found = Predictor(replace(model, info=model.info.model_copy(update={"recipe": recipe})))(
        scan, on_progress=lambda done, _: asked.append(done)
    )
    return voxels(found.label), {"windows": asked[-1], "seconds": round(time.perf_counter() - start, 1)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scans", type=Path, nargs="*", help="scans")
    parser.add_argument("--model", default="hippocampus", help="name of a model")
    parser.add_argument("--store", type=Path, default=Path("models"), help="folder of your models")
    parser.add_argument("--noise", type=int, nargs="*", default=[], help="sides of cubes of noise, in voxels")
    parser.add_argument("--threads", type=int, default=2, help="that may be used (2)")
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = ModelRegistry(options.store, models_folder()).load(options.model)
    result: dict[str, Any] = {"model": options.model, "threads": options.threads, "processor": processor()}
    for scan in [*map(read_scan, options.scans), *(noise(model, side) for side in options.noise)]:
        plain, closely = predicted(model, scan, first_look=False)
        label, looked = predicted(model, scan, first_look=True)
        for key, value in {"closely": closely, "looked": looked}.items():
            result |= {f"{scan.name}, {key}, {name}": number for name, number in value.items()}
        result |= {
            f"{scan.name}, voxels found": int((plain > 0).sum()),
            f"{scan.name}, voxels that differ": int((plain != label).sum()),
        }
    show(result, as_json=options.json)


if __name__ == "__main__":
    main()

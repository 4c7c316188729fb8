"""How much memory it takes to choose the weight of an ensemble on large scans.

    python benchmarks/publishing_memory.py --work WORK --json

Twenty synthetic CT scans of 512x512x240 voxels, each with an organ, are validation scans. The networks are stand-ins
that look at intensities, so that the time is that of everything around them. Scans are written to WORK once; the peak
is that of this process, from its start. `mapped` is what it has mapped of files at the end, which the system takes back
when somebody needs the memory.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from process_memory import memory
from report import show
from torch import Tensor, nn

from diffcl.data.cases import LabelledCase
from diffcl.geometry import Geometry
from diffcl.publishing.ensemble_weight import choose_ensemble_weight
from diffcl.recipe import Recipe, parse_recipe
from diffcl.training.validation import read_validation, unpublished

SIZE, SPACING = (512, 512, 240), (0.75, 0.75, 1.25)
STRAIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


class StandIn(nn.Module):
    """A network that takes what is bright for the organ, and is less sure the brighter its background is."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, image: Tensor, *_: Tensor) -> Tensor:
        """Logits of background and organ."""
        seen = (image - self.threshold) * 8
        return torch.cat([-seen, seen], dim=1)


def recipe() -> Recipe:
    """A task of one organ in CT, at 1 mm."""
    return parse_recipe(
        {
            "name": "organ", "modality": "CT", "labels": [{"value": 1, "name": "organ"}],
            "grid": {"spacing": [1.0, 1.0, 1.0], "window": [128, 128, 128]},
            "intensity": {"method": "window", "low": -125.0, "high": 275.0},
            "diffusion": {"sampling_steps": 1}, "inference": {"overlap": 0.0},
        },
        "benchmark",
    )  # fmt: skip


def write_scans(folder: Path, count: int) -> list[LabelledCase]:
    """Scans of noise, each with a bright ellipsoid and its outline."""
    grid = Geometry(SIZE, SPACING, (0.0, 0.0, 0.0), STRAIGHT)
    x, y, z = (np.arange(length, dtype=np.float32) for length in SIZE)
    cases = []
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        case = LabelledCase(str(number), folder / f"{number}.nii.gz", folder / f"{number}-label.nii.gz")
        cases.append(case)
        if case.label.exists():
            continue
        random = np.random.default_rng(number)
        middle = np.array(SIZE) / 2 + random.integers(-40, 40, 3)
        inside = (
            ((x - middle[0]) / 90)[:, None, None] ** 2
            + ((y - middle[1]) / 70)[:, None] ** 2
            + ((z - middle[2]) / 50) ** 2
        ) < 1
        values = random.integers(-60, 90, SIZE, dtype=np.int16)
        values[inside] += 110
        for path, array in ((case.image, values), (case.label, inside.astype(np.uint8))):
            sitk.WriteImage(grid.place(array), path, useCompression=True, compressionLevel=1)
    return cases


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for the scans")
    parser.add_argument("--scans", type=int, default=20, help="validation scans (20)")
    parser.add_argument("--threads", type=int, default=2, help="that torch may use (2)")
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cases = write_scans(options.work / "scans", options.scans)
    task = recipe()
    model = unpublished(task, StandIn(0.2), StandIn(0.4), torch.device("cpu"))  # type: ignore[arg-type]
    started, start = memory("VmRSS"), time.perf_counter()
    Path("/proc/self/clear_refs").write_text("5")  # writing the scans may have taken more
    scans = [read_validation(case, task, options.work / "prepared") for case in cases]
    read = time.perf_counter() - start
    weight, scores = choose_ensemble_weight(model, scans)
    result: dict[str, Any] = {
        "scans": options.scans,
        "size": "x".join(map(str, SIZE)),
        "threads": options.threads,
        "mib_before": round(started / 2**20),
        "peak_mib": round(memory("VmHWM") / 2**20),
        "mapped_mib": round(memory("RssFile") / 2**20),
        "seconds_reading": round(read, 1),
        "seconds_choosing": round(time.perf_counter() - start - read, 1),
        "weight": weight,
        "scores": json.dumps({name: one.numbers() for name, one in scores.items()}),
    }
    show(result, as_json=options.json)


if __name__ == "__main__":
    main()

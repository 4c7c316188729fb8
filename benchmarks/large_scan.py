"""Time and memory of a CT that is much larger than a window, with many classes, by networks with random weights.

    python benchmarks/large_scan.py
    python benchmarks/large_scan.py --size 512 512 400 --classes 14 --body 120
    python benchmarks/large_scan.py --size 512 512 512 --spacing 1 1 1 --grid 1 --classes 2 --organ 300

The scan is noise in a cube of BODY mm, as wide as the scan where it is not given, in air, whose voxels are all alike.
Windows that hold air alone are not asked of the networks. With ORGAN there is a bright ball of so many millilitres in
the middle, and what the networks compute counts for nothing in their answers, by which the first class is what is
bright; so it is known what there is to find, and how much of the scan need not be read closely. Everything is in this
process: the scan, the program, the networks at work, the label, its uncertainty and the report. Memory is what the
operating system counts as its most.

    PYTHONPATH=PEERS python benchmarks/large_scan.py --beside

With --beside nnU-Net's predictor gets the same scan, each in a process of its own: without mirroring, with a network of
as many weights as CS and DS have, random ones as well, in windows of the same size that overlap by half, on the same
grid, and on one of 3 mm, as TotalSegmentator does where it is to be fast.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_args

import numpy as np
import torch
from nnunet_predictor import nnunet_predictor
from process_memory import memory
from processor import processor
from report import show
from torch import Tensor, nn
from torch.nn import functional

from diffcl.geometry import Geometry
from diffcl.inference import Predictor
from diffcl.inference.engine import EngineChoice
from diffcl.io import Scan
from diffcl.models import Model, ModelInfo
from diffcl.models.profile import Profile
from diffcl.networks.cs import ConvolutionSegmenter
from diffcl.networks.ds import DiffusionSegmenter
from diffcl.recipe import Recipe, load_recipe

AXES = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)

Found = TypeVar("Found")

BY = ("diffcl", "nnunet", "nnunet-coarse")

COARSE_MM = 3.0
"""The grid of the coarse one of nnU-Net, as TotalSegmentator's fast models have it."""


def made_recipe(classes: int, grid: float, window: int) -> Recipe:
    """The recipe of the left atrium with so many classes, background among them, on another grid."""
    labels = [{"value": value, "name": f"organ {value}"} for value in range(1, classes)]
    return Recipe.model_validate(
        load_recipe("left_atrium").model_dump(exclude_unset=True)
        | {"labels": labels, "grid": {"spacing": [grid] * 3, "window": [window] * 3, "crop": [window] * 3}}
    )


class FindsWhatIsBright(nn.Module):
    """A network whose work is done, and whose answer is that what is bright is the first class."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, *rest: Tensor) -> Tensor:
        """Class logits `(B, K, X, Y, Z)` of an image `(B, 1, X, Y, Z)`."""
        logits: Tensor = self.network(image, *rest) * 0
        logits[:, 1:] -= 60
        near = functional.avg_pool3d(image.float(), 4)  # few operations, which the answer should cost
        logits[:, 1:2] = (functional.interpolate(near, scale_factor=4) - 0.7) * 60
        return logits


def made_model(recipe: Recipe, *, finds_what_is_bright: bool) -> Model:
    """Its networks with random weights."""
    torch.manual_seed(0)
    info = ModelInfo(name="random", version=1, created="", recipe=recipe, profile=Profile(modality="CT"))
    networks: list[nn.Module] = [ConvolutionSegmenter(recipe), DiffusionSegmenter(recipe)]
    if finds_what_is_bright:
        networks = [FindsWhatIsBright(network) for network in networks]
    cs, ds = (network.eval().requires_grad_(False) for network in networks)
    return Model(info, cs, ds, torch.device("cpu"))  # type: ignore[arg-type]


def made_scan(
    size: tuple[int, int, int], spacing: tuple[float, float, float], body: float, organ: float
) -> Scan:
    """Noise in a cube of so many mm around the middle, in air, with a bright ball of so many ml."""
    grid = Geometry(size, spacing, (0.0, 0.0, 0.0), AXES)
    values = grid.zeros(np.float32)
    values[...] = -1000
    half = [min(s // 2, round(body / mm / 2)) for s, mm in zip(size, spacing, strict=True)]
    inside = tuple(slice(s // 2 - h, s // 2 + h) for s, h in zip(size, half, strict=True))
    random = np.random.default_rng(0)
    for plane in values[inside].T:
        plane[...] = random.normal(100, 50, plane.shape)
    if organ:
        radius = (organ * 1000 * 3 / 4 / math.pi) ** (1 / 3)
        x, y, z = ((np.arange(n) - n / 2) * mm for n, mm in zip(size, spacing, strict=True))
        for plane, height in enumerate(z):
            values[:, :, plane][x[:, None] ** 2 + y**2 + height**2 < radius**2] += 400
    return Scan(grid.place(values), "made", Path("made"), "CT")


def parsed() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, nargs=3, default=(512, 512, 400), help="voxels of the scan")
    parser.add_argument("--spacing", type=float, nargs=3, default=(0.8, 0.8, 1.0), help="mm between them")
    parser.add_argument("--grid", type=float, default=1.5, help="mm between the voxels that the networks see")
    parser.add_argument("--window", type=int, default=96, help="voxels of a window along each axis")
    parser.add_argument("--classes", type=int, default=14, help="background among them")
    parser.add_argument("--body", type=float, default=1e4, help="mm of the cube that is not air")
    parser.add_argument(
        "--organ", type=float, default=0.0, help="ml of a bright ball that the networks find (0: none)"
    )
    parser.add_argument(
        "--engine", choices=get_args(EngineChoice), default="torch", help="what computes (torch)"
    )
    parser.add_argument("--threads", type=int, default=2, help="that may be used (2)")
    parser.add_argument("--by", choices=BY, default="diffcl", help="who predicts (diffcl)")
    parser.add_argument(
        "--beside", action="store_true", help="all who can predict, one after the other, and their ratios"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    return parser.parse_args()


def timed(work: Callable[[], Found]) -> tuple[Found, dict[str, Any]]:
    """What some work finds, and what it takes."""
    before, begin, used = memory("VmRSS"), time.perf_counter(), time.process_time()
    found = work()
    return found, {
        "seconds": round(time.perf_counter() - begin, 1),
        "processor_seconds": round(time.process_time() - used, 1),
        "gib_before": round(before / 2**30, 2),
    }


def by_diffcl(model: Model, scan: Scan, engine: EngineChoice) -> dict[str, Any]:
    """What our predictor takes."""
    done = [0]
    predictor = Predictor(model, engine)
    found, taken = timed(lambda: predictor(scan, on_progress=lambda count, _: done.append(count)))
    report = found.report
    return taken | {
        "stages": report.seconds,
        "windows_asked": done[-1],
        "volumes_ml": report.volumes_ml,
    }


def by_nnunet(model: Model, scan: Scan, grid: float) -> dict[str, Any]:
    """What nnU-Net's predictor takes."""
    segment = nnunet_predictor(model, mirroring=False, grid=grid)
    with contextlib.redirect_stdout(sys.stderr):
        return timed(lambda: segment(scan.image))[1]


def measured(arguments: argparse.Namespace) -> dict[str, Any]:
    """One prediction in this process."""
    torch.set_num_threads(arguments.threads)
    recipe = made_recipe(arguments.classes, arguments.grid, arguments.window)
    model = made_model(recipe, finds_what_is_bright=arguments.organ > 0)
    scan = made_scan(tuple(arguments.size), tuple(arguments.spacing), arguments.body, arguments.organ)
    if arguments.by == "diffcl":
        result = by_diffcl(model, scan, arguments.engine)
    else:
        result = by_nnunet(model, scan, COARSE_MM if arguments.by == "nnunet-coarse" else arguments.grid)
    return result | {"gib": round(memory("VmHWM") / 2**30, 2), "processor": processor()}


def all_of_them() -> dict[str, Any]:
    """Everybody's prediction, each in a process of its own, and how many times as long as ours it took."""
    result: dict[str, Any] = {}
    asked = [one for one in sys.argv[1:] if one not in ("--beside", "--json")]
    for by in BY:
        command = [sys.executable, __file__, *asked, "--by", by, "--json"]
        result[by] = json.loads(subprocess.check_output(command, text=True).splitlines()[-1])
        result[by]["over ours"] = round(result[by]["seconds"] / result["diffcl"]["seconds"], 2)
    return result


def main() -> None:
    """Measure and print."""
    arguments = parsed()
    show(all_of_them() if arguments.beside else measured(arguments), as_json=arguments.json)


if __name__ == "__main__":
    main()

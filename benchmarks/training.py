"""What a step of training costs: the whole method against supervised steps of CS alone, in one process.

    python benchmarks/training.py --recipe left_atrium --json

A step is all that a step of a training is: both networks, all losses, both averages and optimisers, with as many
labelled as unlabelled crops, mixed, and a full memory bank. Both kinds of step take turns, on crops of noise, and
medians count; as many more are taken under a profiler. What normalisations read and write, at the speed of a copy of
memory, says what their share would be if they did nothing but move it. Batches are made beside the steps in a
training; what one costs is measured apart.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from limits import COPIED
from process_memory import memory
from processor import processor
from report import show
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from diffcl.data.batches import Batch, Batches
from diffcl.data.cache import TrainingScan
from diffcl.networks.allocation import keeps_freed_memory
from diffcl.networks.norm import NormActivation
from diffcl.recipe import Recipe, load_recipe
from diffcl.training.state import TrainingState
from diffcl.training.step import diffcl_step


def noise(recipe: Recipe, count: int, *, labelled: bool) -> list[TrainingScan]:
    """Scans of the size of a crop, the labelled ones with a box of each class."""
    scans = []
    for index in range(count):
        random = torch.Generator().manual_seed(index + 100 * labelled)
        image = torch.rand(1, *recipe.grid.crop, generator=random) * 2 - 1
        label = torch.zeros(recipe.grid.crop, dtype=torch.int64)
        side = recipe.grid.crop[0] // recipe.classes
        for value in range(1, recipe.classes):
            label[value * side : (value + 1) * side, 8:-8, 8:-8] = value
        scans.append(TrainingScan(str(index), image, label if labelled else None))
    return scans


class Contender:
    """Steps of one kind."""

    def __init__(self, recipe: Recipe, batch: Batch) -> None:
        self.learner = TrainingState(recipe, torch.device("cpu"))
        self.batch = batch

    def __call__(self, number: int) -> None:
        """Take a step."""
        losses = diffcl_step(self.learner, self.batch, number)
        self.learner.learn(losses.cs, losses.ds, number)


def take_turns(contenders: Mapping[str, Callable[[int], None]], runs: int) -> dict[str, float]:
    """The median of the seconds that a step of each takes."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(50, 50 + 2 + runs):
        for name, contender in contenders.items():
            start = time.perf_counter()
            contender(number)
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(taken[2:]) for name, taken in seconds.items()}  # two compile and fill


def shares(step: Callable[[int], None], runs: int) -> dict[str, float]:
    """What part of a step's time are its larger kinds of work, with their gradients.

    After `take_turns`, which compiles and fills what there is to compile and to fill. Medians over steps.
    """
    convolutions = ("convolution", "_convolution", "mkldnn_convolution", "convolution_backward")
    names = {
        "convolution_share": [f"aten::{name}" for name in convolutions],
        "scan_share": ["_CompiledScan", "_CompiledScanBackward"],
        "normalisation_share": ["_Compiled", "_CompiledBackward"],
        "matrix_product_share": [f"aten::{name}" for name in ("mm", "addmm", "bmm", "baddbmm")],
    }
    found: dict[str, list[float]] = {share: [] for share in names}
    for number in range(60, 60 + runs):
        with profile(activities=[ProfilerActivity.CPU]) as record:
            step(number)
        events = record.key_averages()
        whole = sum(event.self_cpu_time_total for event in events)
        for share, keys in names.items():
            found[share].append(sum(one.self_cpu_time_total for one in events if one.key in keys) / whole)
    return {share: round(statistics.median(values), 3) for share, values in found.items()}


def normalisation_bytes(contender: Contender) -> int:
    """What the normalisations of a step read and write.

    Forward the volume is read for its moments, read again and written, and a residual read; backward the volume, its
    result and the gradient are read for the moments and again for the gradient that is written, and that of a
    residual is written.
    """
    moved = 0

    def count(_: nn.Module, given: tuple[Any, ...], made: Tensor) -> None:
        nonlocal moved
        residual = len(given) > 2 and given[2] is not None
        passes = 3 + residual + made.requires_grad * (7 + residual)
        moved += passes * made.numel() * made.element_size()

    students = (contender.learner.cs, contender.learner.ds)
    networks = [one for student in students if student for one in (student.network, student.teacher)]
    norms = [one for network in networks for one in network.modules() if isinstance(one, NormActivation)]
    hooks = [norm.register_forward_hook(count) for norm in norms]
    contender(70)
    for hook in hooks:
        hook.remove()
    return moved


def copied_bytes_a_second(runs: int) -> float:
    """How fast memory is copied, bytes read and written together."""
    source, target = torch.ones(2, COPIED // 4)

    def copy(_: int) -> None:
        target.copy_(source)

    return 2 * COPIED / take_turns({"copy": copy}, runs)["copy"]


def arguments(description: str | None) -> argparse.ArgumentParser:
    """What one may ask of a comparison of steps."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", default="left_atrium", help="name or file of a recipe (left_atrium)")
    parser.add_argument("--crops", type=int, default=2, help="labelled, and as many unlabelled (2)")
    parser.add_argument("--runs", type=int, default=5, help="of each (5)")
    parser.add_argument("--threads", type=int, default=2, help="that may be used (2)")
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    return parser


def with_all_parts(recipe: Recipe, crops: int) -> Recipe:
    """The recipe with steps that do all that a step can do, on so many labelled and as many unlabelled crops."""
    counts = dict.fromkeys(("start_crops", "labelled_crops", "unlabelled_crops"), crops)
    return recipe.changed(training={"steps": 100, "supervised_start": 0, "mix": 1.0, **counts})


def circumstances(recipe: Recipe, options: argparse.Namespace) -> dict[str, Any]:
    """On what, and with what, steps were compared."""
    return {
        "recipe": recipe.name,
        "crop": "x".join(map(str, recipe.grid.crop)),
        "crops": f"{options.crops} labelled, {options.crops} unlabelled",
        "processor": processor(),
        "threads": options.threads,
        "torch": torch.__version__,
    }


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__).parse_args()
    torch.set_num_threads(options.threads)
    full = with_all_parts(load_recipe(options.recipe), options.crops)
    supervised = full.changed(training={"method": "supervised"})
    labelled, unlabelled = noise(full, 4, labelled=True), noise(full, 4, labelled=False)
    batches = Batches(labelled, unlabelled, full)
    start = time.perf_counter()
    made = batches(99)
    batch_seconds = time.perf_counter() - start
    contenders = {
        "full": Contender(full, made),
        "supervised": Contender(supervised, Batches(labelled, [], supervised)(99)),
    }
    with keeps_freed_memory():
        middle = take_turns(contenders, options.runs)
        peak = memory("VmHWM")
        parts = shares(contenders["full"], options.runs)
        moved = normalisation_bytes(contenders["full"])
    result = {
        **circumstances(full, options),
        "full_seconds": round(middle["full"], 3),
        "supervised_seconds": round(middle["supervised"], 3),
        "full_over_supervised": round(middle["full"] / middle["supervised"], 2),
        **parts,
        "normalisation_gib": round(moved / 2**30, 2),
        "normalisation_share_at_copy_speed": round(
            moved / copied_bytes_a_second(options.runs) / middle["full"], 3
        ),
        "batch_seconds": round(batch_seconds, 3),
        "peak_gib": round(peak / 2**30, 2),
    }
    show(result, as_json=options.json)


if __name__ == "__main__":
    main()

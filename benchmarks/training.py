"""What a step of training costs: the whole method against supervised steps of CS alone, in one process.

    python benchmarks/training.py --recipe left_atrium --json

A step is all that a step of a training is: both networks, all losses, both averages and optimisers, with as many
labelled as unlabelled crops, mixed, and a full memory bank. Both kinds of step take turns, on crops of noise, and
medians count. Batches are made beside the steps in a training; what one costs is measured apart.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import torch
from process_memory import memory
from report import show

from diffcl.data.batches import Batch, Batches
from diffcl.data.prepare import TrainingScan
from diffcl.inference.engine import processor
from diffcl.recipe import Recipe, load_recipe
from diffcl.training.learner import Learner
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
        self.learner = Learner(recipe, torch.device("cpu"))
        self.batch = batch
        self.seconds: list[float] = []

    def step(self, number: int) -> None:
        """Take a step and remember its time."""
        start = time.perf_counter()
        losses = diffcl_step(self.learner, self.batch, number)
        self.learner.learn(losses.cs, losses.ds, number)
        self.seconds.append(time.perf_counter() - start)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", default="left_atrium", help="name or file of a recipe (left_atrium)")
    parser.add_argument("--crops", type=int, default=2, help="labelled, and as many unlabelled (2)")
    parser.add_argument("--runs", type=int, default=5, help="of each (5)")
    parser.add_argument("--threads", type=int, default=2, help="that may be used (2)")
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    crops = dict.fromkeys(("start_crops", "labelled_crops", "unlabelled_crops"), options.crops)
    schedule = {"steps": 100, "supervised_start": 0, "mix": 1.0, **crops}
    full = load_recipe(options.recipe).changed(training=schedule)
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
    for number in range(50, 50 + 2 + options.runs):  # the first two compile and fill
        for contender in contenders.values():
            contender.step(number)
    middle = {name: statistics.median(one.seconds[2:]) for name, one in contenders.items()}
    result: dict[str, Any] = {
        "recipe": full.name,
        "crop": "x".join(map(str, full.grid.crop)),
        "crops": f"{options.crops} labelled, {options.crops} unlabelled",
        "processor": processor(),
        "threads": options.threads,
        "torch": torch.__version__,
        "full_seconds": round(middle["full"], 3),
        "supervised_seconds": round(middle["supervised"], 3),
        "full_over_supervised": round(middle["full"] / middle["supervised"], 2),
        "batch_seconds": round(batch_seconds, 3),
        "peak_gib": round(memory("VmHWM") / 2**30, 2),
    }
    show(result, as_json=options.json)


if __name__ == "__main__":
    main()

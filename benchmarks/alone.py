"""What a setting is worth to one network: CS or DS trained alone on labelled scans, for a small number of steps.

    python benchmarks/alone.py cs --data DIR --labelled 8 --steps 250 --change '{"training": {"mix": 0}}'

DIR holds `images/`, `labels/` and `train.txt`; the first scans are labelled, every second one of the last 16, or every
`--every`-th of as many as are asked for, validates, on its own grid, by the Predictor. What the recipe leaves open is
planned. A trial of a setting costs minutes where a whole training costs hours; what wins here still has to win there.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import torch

from diffcl.data.batches import Batches
from diffcl.data.cases import Cases, find_cases
from diffcl.losses.segmentation import segmentation_loss
from diffcl.planning.planned_recipe import planned
from diffcl.recipe import Recipe, load_recipe
from diffcl.training.loop import current_model
from diffcl.training.scans import load_scans
from diffcl.training.state import TrainingState
from diffcl.training.step import arrange
from diffcl.training.validation import validate


def train_alone(which: str, cases: Cases, recipe: Recipe, cache: Path) -> dict[str, float]:
    """Train one network and validate its average: `dice`, `dice_worst`, `hd95_mm`, that of each class, and seconds."""
    scans = load_scans(cases, recipe, cache)
    learner = TrainingState(recipe, torch.device("cpu"))
    student = learner.cs if which == "cs" else learner.ds
    if student is None:
        raise SystemExit("a supervised recipe has no DS")
    start, used = time.perf_counter(), time.process_time()
    for step, batch in Batches(scans.labelled, [], recipe).ahead(1, recipe.training.steps):
        random = torch.Generator().manual_seed(step)
        crops = arrange(batch, None, None)
        with learner.computing():
            if which == "cs":
                logits = student.network(crops.images)
            else:
                clean = learner.diffusion.encode(crops.ds_target, recipe.classes)
                drawn = learner.diffusion.draw_time(len(clean), random)
                noisy = learner.diffusion.noise(clean, drawn, torch.randn(clean.shape, generator=random))
                logits = student.network(crops.images, noisy, drawn)
        loss = segmentation_loss(logits, crops.cs_target, crops.labelled)
        student.learn(loss)
        print(f"\r{step} of {recipe.training.steps}, loss {loss.item():.3f}", end="", file=sys.stderr)
    times = {
        "seconds": round(time.perf_counter() - start),
        "processor_seconds": round(time.process_time() - used),
    }
    scores = validate(scans.validation, current_model(learner), networks=which)  # type: ignore[arg-type]
    classes = {name: one["dice"] for name, one in scores.by_class().items()}
    return {**scores.numbers(), **times, **classes}


def main() -> None:
    """Train, validate and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("network", choices=("cs", "ds"))
    parser.add_argument("--data", type=Path, required=True, help="folder with images/, labels/ and train.txt")
    parser.add_argument("--recipe", default="left_atrium", help="name or file of a recipe (left_atrium)")
    parser.add_argument("--labelled", type=int, default=64, help="labelled scans (64)")
    parser.add_argument("--validation", type=int, default=16, help="scans of which some validate (16)")
    parser.add_argument("--every", type=int, default=2, help="which of them, by its number (2)")
    parser.add_argument("--steps", type=int, default=200, help="steps (200)")
    parser.add_argument("--change", type=json.loads, default={}, help="fields of the recipe, as JSON")
    parser.add_argument("--cache", type=Path, help="folder in which prepared scans are kept")
    options = parser.parse_args()
    changes = dict(options.change)
    training = {"steps": options.steps, "supervised_start": options.steps, **changes.pop("training", {})}
    recipe = load_recipe(options.recipe)
    found = find_cases(options.data, labelled=options.labelled, validation=options.validation, recipe=recipe)
    cases = Cases(found.labelled, (), found.validation[:: options.every])
    with tempfile.TemporaryDirectory() as folder:
        cache = options.cache or Path(folder)
        recipe = planned(recipe, cases, cache=cache).changed(training=training, **changes)
        print(json.dumps(train_alone(options.network, cases, recipe, cache)))


if __name__ == "__main__":
    main()

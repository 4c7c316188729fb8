"""What changes of a recipe are worth in short trainings of the whole method, all of the same scans and steps.

    python benchmarks/variants.py --data DIR --recipe hippocampus --labelled 8 --validation 40 --steps 300 \
        --change '{}' --change '{"training": {"supervised_start": 150}}'

DIR holds `images/`, `labels/` and `train.txt`; the last scans validate, after the last step and on their own grids, by
the Predictor; no training knows them. Each seed has labelled scans of its own, the next ones of the list, and every
change is tried on all of them, so that a difference can be told from what other scans or other random numbers do: it is
printed with its standard error. A change is made to the recipe, planned where it is open, for that number of steps;
`last_part` in it is the share of the steps in which the `--judging` scans teach too, see `diffcl.training.Plan`.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from processor import processor

from diffcl.data.cases import Cases, LabelledCase, UnlabelledCase, find_cases
from diffcl.planning.planned_recipe import planned
from diffcl.recipe import Recipe, load_recipe
from diffcl.training import Plan, Progress, train
from diffcl.training.best import read_best
from diffcl.training.run import LAST
from diffcl.training.validation import read_validation, validate


def cases_of(found: Cases, first: int, labelled: int, judging: int) -> Cases:
    """Cases in which the labelled ones from `first` on are labelled, of which some judge; the rest have no label."""
    chosen = found.labelled[first : first + labelled]
    rest = tuple(UnlabelledCase(one.name, one.image) for one in found.labelled if one not in chosen)
    return Cases(chosen[: labelled - judging], (*rest, *found.unlabelled), chosen[labelled - judging :])


def dice_of(
    cases: Cases,
    judges: Sequence[LabelledCase],
    recipe: Recipe,
    change: dict[str, Any],
    seed: int,
    cache: Path,
) -> float:
    """Train with a change of the recipe, and judge by scans that the training does not know."""
    change = dict(change)
    plan = Plan(last_part=change.pop("last_part", 0.0))
    recipe = recipe.changed(**{**change, "training": {"seed": seed, **change.get("training", {})}})

    def watch(progress: Progress) -> None:
        print(f"\r{progress.step} of {progress.steps}  ", end="", file=sys.stderr)

    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        train(cases, recipe, run, plan=plan, cache=cache, on_step=watch)
        best = read_best(run, LAST if (run / LAST).exists() else "").model
    return validate([read_validation(case, recipe, cache) for case in judges], best).dice


def told(values: Sequence[float]) -> str:
    """A mean with its standard error.

    >>> told([0.5, 0.6]), told([0.5])
    ('0.5500 ± 0.0500', '0.5000')
    """
    error = f" ± {np.std(values, ddof=1) / math.sqrt(len(values)):.4f}" if len(values) > 1 else ""
    return f"{np.mean(values):.4f}{error}"


def main() -> None:
    """Train every variant and print what it came to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with images/, labels/ and train.txt")
    parser.add_argument("--recipe", required=True, help="name or file of a recipe")
    parser.add_argument("--labelled", type=int, default=8, help="labelled scans of each seed (8)")
    parser.add_argument("--judging", type=int, default=0, help="of these, scans that judge the training (0)")
    parser.add_argument("--validation", type=int, required=True, help="scans that validate, from the last")
    parser.add_argument("--steps", type=int, nargs="+", required=True, help="of each training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="seeds (0 1)")
    parser.add_argument("--change", type=json.loads, action="append", required=True,
                        help="fields of the recipe, as JSON; others are compared with the first")  # fmt: skip
    parser.add_argument("--cache", type=Path, help="folder in which prepared scans are kept")
    options = parser.parse_args()
    recipe = load_recipe(options.recipe)
    last = options.labelled * (max(options.seeds) + 1)
    found = find_cases(options.data, labelled=last, validation=options.validation, recipe=recipe)
    print(
        f"{processor()}\n\n| steps | change | Dice | difference | by seed | seconds |\n|---|---|---|---|---|---|"
    )
    trials = {
        seed: cases_of(found, seed * options.labelled, options.labelled, options.judging)
        for seed in options.seeds
    }
    with tempfile.TemporaryDirectory() as folder:
        cache = options.cache or Path(folder)
        for steps in options.steps:
            first: list[float] = []
            for change in options.change:
                began = time.monotonic()
                dice = [
                    dice_of(cases, found.validation, Plan(steps=steps).schedule(planned(recipe, cases, cache=cache)),
                            change, seed, cache)
                    for seed, cases in trials.items()
                ]  # fmt: skip
                first = first or dice
                difference = told([one - other for one, other in zip(dice, first, strict=True)])
                each = ", ".join(f"{one:.4f}" for one in dice)
                seconds = (time.monotonic() - began) / len(dice)
                print(f"\r| {steps} | `{json.dumps(change)}` | {told(dice)} | {difference} | {each} | {seconds:.0f} |",
                      flush=True)  # fmt: skip


if __name__ == "__main__":
    main()

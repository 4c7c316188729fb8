"""Does it pay to outline the scans that the server proposes, rather than any? A simulation.

    python benchmarks/active_learning.py --data DIR --work WORK

DIR holds `images/` and `labels/`, and `train.txt` with the order of the scans, the last of which validate. A
strategy chooses 2 scans, whose labels are revealed, and a model learns from them and from all others without
their labels. It then chooses 2 more, 4 more and 8 more, and each time the model goes on with the same number of
steps, as one on a server does. Each strategy begins five times: `random` with other scans and other weights, the
other one with other weights.

Every finished round is kept in WORK, so that a run that was stopped goes on where it was. With `--arms`, several
processes share the work. The picture is drawn by the one after which all rounds are there.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from matplotlib.figure import Figure

from diffcl.active_learning import ScanScore, choose, describe, distances, score
from diffcl.data.cases import Cases, LabelledCase, UnlabelledCase, find_cases
from diffcl.files import replace_file, write_text
from diffcl.io import read_scan
from diffcl.models import Model
from diffcl.models.weights import save_model
from diffcl.publishing.candidate import make_candidate
from diffcl.recipe import Recipe, load_recipe
from diffcl.training import Plan, train
from diffcl.training.schedule import Parent
from diffcl.training.validation import read_validation, validate

COUNTS = (2, 4, 8, 16)
ARMS = tuple((strategy, seed) for strategy in ("random", "uncertain_diverse") for seed in range(5))
"""Strategies, each with the seed of its choices and of its trainings."""


@dataclass(frozen=True)
class Round:
    """A training of a strategy and what came of it.

    Attributes:
        strategy: How the labelled scans were chosen.
        seed: Of choices and trainings.
        labelled: The scans whose labels were revealed.
        dice: Mean Dice on the validation scans.
        worst: Dice of the worst of them.
        steps: Of the training.
        scans: Validation scans.
        chosen: What is labelled in the next round.
    """

    strategy: str
    seed: int
    labelled: list[str]
    dice: float
    worst: float
    steps: int
    scans: int
    chosen: list[str]


@dataclass(frozen=True)
class Simulation:
    """What all rounds share.

    Attributes:
        pool: The scans that may be labelled, with their labels.
        validation: The scans that judge.
        recipe: Of the task.
        steps: Of each training.
        work: Folder for runs and results.
    """

    pool: dict[str, LabelledCase]
    validation: Sequence[LabelledCase]
    recipe: Recipe
    steps: int
    work: Path

    def rounds(self, strategy: str, seed: int) -> Iterator[Round]:
        """All rounds of a strategy, those of an earlier run from disk."""
        chosen: list[str] = []
        parent = None
        for count in COUNTS:
            file = self.file(strategy, seed, count)
            if file.exists():
                done = read(file)
                if (done.steps, done.scans) != (self.steps, len(self.validation)):
                    sys.exit(f"{file}: is of another simulation. Name another --work")
            else:
                chosen = chosen or self.choose(strategy, seed, [], count, None)
                done = self.round(strategy, seed, chosen, file, parent)
                write_text(file, json.dumps(asdict(done), indent=2) + "\n")
            yield done
            chosen, parent = done.chosen, model_folder(file)

    def kept(self) -> list[Round]:
        """All rounds that are there, of any process."""
        files = [self.file(*arm, count) for arm in ARMS for count in COUNTS]
        return [read(file) for file in files if file.exists()]

    def file(self, strategy: str, seed: int, count: int) -> Path:
        """Where a finished round is kept."""
        return self.work / _name(strategy, seed) / f"{count}.json"

    def round(self, strategy: str, seed: int, labelled: list[str], file: Path, before: Path | None) -> Round:
        """Train with these labels, judge, keep the model, and choose the labels of the next round."""
        run = file.with_suffix("")
        rest = [UnlabelledCase(name, case.image) for name, case in self.pool.items() if name not in labelled]
        cases = Cases(tuple(self.pool[name] for name in labelled), tuple(rest), ())
        recipe = self.recipe.changed(training={"seed": seed})
        plan = Plan(steps=self.steps, parent=None if before is None else Parent.of(before))
        train(cases, recipe, run, plan=plan, resume=True, cache=self.work / "prepared")
        model = make_candidate(run).model
        model_folder(file).mkdir(exist_ok=True)
        save_model(model_folder(file), model.info, model.cs, model.ds)
        scores = validate([read_validation(case, recipe) for case in self.validation], model)
        later = [count for count in COUNTS if count > len(labelled)]
        chosen = self.choose(strategy, seed, labelled, later[0], model) if later else []
        shutil.rmtree(run)
        return Round(strategy, seed, labelled, round(scores.dice, 4), round(scores.worst.dice, 4),
                     self.steps, len(self.validation), chosen)  # fmt: skip

    def choose(
        self, strategy: str, seed: int, labelled: list[str], count: int, model: Model | None
    ) -> list[str]:
        """The labelled scans and as many more as make `count`, chosen as the server does."""
        names = list(self.pool)
        if strategy == "random":
            return [str(name) for name in np.random.default_rng(seed).permutation(names)[:count]]
        looks = [self.look(case, model) for case in self.pool.values()]
        doubts = None if model is None else np.array([look.doubt for look in looks])
        if doubts is not None:
            doubts[[names.index(name) for name in labelled]] = 0
        between = distances(np.array([look.features for look in looks]))
        outlined = [names.index(name) for name in labelled]
        more = choose(between, outlined, count - len(labelled), doubts)
        return [*labelled, *(names[index] for index in more)]

    def look(self, case: LabelledCase, model: Model | None) -> ScanScore:
        """What is known of a scan without its label."""
        scan = read_scan(case.image)
        return describe(scan, self.recipe) if model is None else score(scan, model)


def model_folder(file: Path) -> Path:
    """Where the model of the round that is kept in a file goes."""
    return file.with_name(f"{file.stem}-model")


def read(file: Path) -> Round:
    """A round that was kept."""
    return Round(**json.loads(file.read_text(encoding="utf-8")))


def _name(strategy: str, seed: int) -> str:
    return f"{strategy}-{seed}"


def by_strategy(rounds: Sequence[Round]) -> dict[str, list[list[float]]]:
    """The Dice of all seeds after each number of labels, of each strategy."""
    return {
        strategy: [
            [one.dice for one in rounds if one.strategy == strategy and len(one.labelled) == count]
            for count in COUNTS
        ]
        for strategy in dict(ARMS)
    }


def table(rounds: Sequence[Round]) -> str:
    """Means with their standard errors, in Markdown."""
    lines = [
        f"| mean Dice | {' | '.join(f'{count} labels' for count in COUNTS)} |",
        "|---" * (len(COUNTS) + 1) + "|",
    ]
    for strategy, found in by_strategy(rounds).items():
        told = [f"{mean(dice):.4f} ± {stdev(dice) / len(dice) ** 0.5:.4f}" for dice in found]
        lines.append(f"| `{strategy}`, {len(found[0])} times | {' | '.join(told)} |")
    return "\n".join(lines)


def draw(rounds: Sequence[Round], path: Path) -> None:
    """The Dice of every strategy over the number of labels: mean, and range."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    looks = (("o--", "tab:grey"), ("o-", "tab:blue"))
    for (strategy, found), (line, color) in zip(by_strategy(rounds).items(), looks, strict=True):
        axes.fill_between(COUNTS, list(map(min, found)), list(map(max, found)), alpha=0.2, color=color)
        label = f"{strategy}, mean and range of {len(found[0])}"
        axes.plot(COUNTS, list(map(mean, found)), line, color=color, label=label)
    axes.set_xscale("log", base=2)
    axes.set_xticks(COUNTS, [str(count) for count in COUNTS])
    axes.set_xlabel("labelled scans")
    axes.set_ylabel(f"mean Dice on {rounds[0].scans} validation scans")
    axes.legend(loc="lower right")
    axes.grid(alpha=0.3)
    with replace_file(path) as temporary:
        figure.savefig(temporary, dpi=120)


def main() -> None:
    """Simulate, print and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with images, labels and train.txt")
    parser.add_argument("--work", type=Path, required=True, help="folder for runs and results")
    parser.add_argument("--recipe", default="hippocampus", help="name or file of a recipe")
    parser.add_argument("--steps", type=int, default=200, help="of each training")
    parser.add_argument("--validation", type=int, default=40, help="scans that judge")
    parser.add_argument("--pool", type=int, help="scans that may be labelled; all others by default")
    parser.add_argument("--arms", nargs="+", choices=[_name(*arm) for arm in ARMS], help="do these alone")
    parser.add_argument("--picture", type=Path, default=Path("docs/active_learning.png"))
    parser.add_argument("--json", action="store_true", help="print one JSON object a round")
    arguments = parser.parse_args()
    recipe = load_recipe(arguments.recipe)
    every = find_cases(arguments.data, labelled=1, validation=arguments.validation)
    size = 1 + len(every.unlabelled) if arguments.pool is None else arguments.pool
    found = find_cases(arguments.data, labelled=size, validation=arguments.validation)
    simulation = Simulation(
        {case.name: case for case in found.labelled},
        found.validation,
        recipe,
        arguments.steps,
        arguments.work,
    )
    for strategy, seed in ARMS:
        if arguments.arms and _name(strategy, seed) not in arguments.arms:
            continue
        for done in simulation.rounds(strategy, seed):
            line = f"{strategy:18} {seed}  {len(done.labelled):3} labels  Dice {done.dice:.4f}  worst {done.worst:.4f}"
            print(json.dumps(asdict(done)) if arguments.json else line, flush=True)
    rounds = simulation.kept()
    if len(rounds) == len(ARMS) * len(COUNTS):
        draw(rounds, arguments.picture)
        if not arguments.json:
            print(table(rounds))


if __name__ == "__main__":
    main()

"""How well any organ is learned from a recipe that only names its classes, in the same time for every set.

    python benchmarks/any_organ.py --data DIR --work WORK --minutes 60
    PYTHONPATH=PEERS python benchmarks/any_organ.py --data DIR --work WORK --minutes 60 --beside 3d_fullres 2d
    python benchmarks/any_organ.py --data DIR --work WORK --sets left-atrium --beside bcp --peers PEERS

DIR holds a folder for each set, with `images/`, `labels/` and `train.txt`: the first scans are labelled, the last ones
validate, the others have no label. A set that is not among `SETS` has a recipe in its folder, `names.toml`, and keeps a
fifth of its scans to validate. Each set is trained with 4 and with 8 labelled patients, with and without the scans
that have no label; `--beside` trains others too, for the same minutes: configurations of nnU-Net 2 by its own plan, on
the same labelled scans (see `nnunet.py`), and BCP on all of them (see `bcp.py`). A training that was stopped goes on
where it was, but for BCP; one that is done is not repeated. WORK keeps the runs, what each found (`NAME.json`), the
table (`any_organ.md`) and the picture (`any_organ.png`): Dice against minutes.
How busy the machine was stands beside each result, as its load over the training.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from bcp import learn_bcp
from matplotlib.figure import Figure
from nnunet import CONFIGURATIONS, learn_nnunet
from processor import processor

from diffcl.data.cases import Cases, find_cases
from diffcl.evaluation.scores import Scores
from diffcl.files import replace_file, write_text
from diffcl.publishing.ensemble_weight import choose_ensemble_weight
from diffcl.recipe import Recipe, load_recipe, parse_recipe
from diffcl.training import Plan, train
from diffcl.training.best import read_best
from diffcl.training.loop import Progress
from diffcl.training.run import begun
from diffcl.training.validation import read_validation


@dataclass(frozen=True)
class OrganSet:
    """A set of scans.

    Attributes:
        folder: Its name.
        modality: Of the scans.
        classes: Names, in the order of their values.
        validation: How many scans validate, from the last.
        labelled: How many scans are labelled where 4 patients, and where 8 are asked for.
    """

    folder: str
    modality: str
    classes: tuple[str, ...]
    validation: int
    labelled: dict[int, int]

    @property
    def recipe(self) -> Recipe:
        """A recipe that names the classes and nothing else."""
        labels = [{"value": value, "name": name} for value, name in enumerate(self.classes, start=1)]
        name = self.folder.replace("-", "_")
        return parse_recipe({"name": name, "modality": self.modality, "labels": labels}, self.folder)


ABDOMEN = (
    "spleen", "right_kidney", "left_kidney", "gallbladder", "oesophagus", "liver", "stomach", "aorta",
    "inferior_vena_cava", "portal_and_splenic_vein", "pancreas", "right_adrenal", "left_adrenal",
)  # fmt: skip

SETS = (
    OrganSet("cardiac", "MR", ("right_ventricle", "myocardium", "left_ventricle"), 20, {4: 6, 8: 14}),
    OrganSet("abdomen", "CT", ABDOMEN, 4, {4: 4, 8: 8}),
    OrganSet("hippocampus", "MR", ("anterior", "posterior"), 40, {4: 4, 8: 8}),
    OrganSet("left-atrium", "MR", ("left_atrium",), 16, {4: 4, 8: 8}),
)
"""Sets whose splits are those of published comparisons; two volumes of a cardiac patient stand on one side."""

BCP = "bcp"
"""The peer that learns from all scans, as ours does."""

VALIDATING_SHARE = 5
"""One in so many scans of any other set validates."""


@dataclass(frozen=True)
class Experiment:
    """A training of the table.

    Attributes:
        set: Where its scans are.
        recipe: Names the classes.
        labelled: Patients.
        cases: The scans.
        unlabelled: Whether the scans without a label take part.
        variant: In what the recipe differs; nothing by default.
    """

    set: str
    recipe: Recipe
    labelled: int
    cases: Cases
    unlabelled: bool
    variant: str = ""

    @property
    def name(self) -> str:
        """Of its files."""
        alone = "" if self.unlabelled else "-labelled-alone"
        return f"{self.set}-{self.labelled}{alone}" + (f"-{self.variant}" if self.variant else "")


def experiments(data: Path, wanted: Sequence[str], counts: Sequence[int]) -> list[Experiment]:
    """The trainings on the sets of a folder, all of them possible."""
    known = {one.folder: one for one in SETS}
    found = []
    for folder in sorted(path for path in data.iterdir() if (path / "labels").is_dir()):
        names = folder / "names.toml"
        if (wanted and folder.name not in wanted) or not (folder.name in known or names.is_file()):
            continue
        if folder.name in known:
            recipe, validation = known[folder.name].recipe, known[folder.name].validation
            scans = {count: known[folder.name].labelled[count] for count in counts}
        else:
            recipe = load_recipe(names)
            validation = max(1, len(list((folder / "labels").iterdir())) // VALIDATING_SHARE)
            scans = {count: count for count in counts}
        for count, labelled in scans.items():
            cases = find_cases(folder, labelled=labelled, validation=validation)
            alone = Cases(cases.labelled, (), cases.validation)
            found += [
                Experiment(folder.name, recipe, count, chosen, chosen is cases) for chosen in (cases, alone)
            ]
    return found


def run_experiment(one: Experiment, plan: Plan, work: Path) -> dict[str, Any]:
    """Train as planned, or take up what is there, and judge the best weights."""
    kept = work / f"{one.name}.json"
    if kept.exists():
        result: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        return result
    run, curve, loads = work / one.name, [], []
    began = time.monotonic()

    def watch(progress: Progress) -> None:
        loads.append(os.getloadavg()[0])
        if progress.scores is not None:
            curve.append((round((time.monotonic() - began) / 60, 2), progress.step, progress.scores.dice))
        print(f"\r{one.name}: {progress.step} of {progress.steps}", end="", flush=True)

    train(one.cases, one.recipe, run, plan=plan, resume=begun(run),
          cache=work / "prepared" / one.set, on_step=watch)  # fmt: skip
    took = (time.monotonic() - began) / 60
    best = read_best(run)
    recipe = best.model.info.recipe
    scans = [read_validation(case, recipe, work / "prepared" / one.set) for case in one.cases.validation]
    weight, scores = choose_ensemble_weight(best.model, scans)
    result = {
        "by": "Diff-CL",
        **of_experiment(one, plan.minutes or round(took, 1), scores["ensemble"]),
        "minutes_since_last_start": round(took, 1),
        "steps": best.step,
        "load": round(float(np.mean(loads)), 1) if loads else None,
        "ds_weight": weight,
        "curve": curve,
        "recipe": recipe.model_dump(mode="json"),
    }
    write_text(kept, json.dumps(result, indent=1) + "\n")
    return result


def run_beside(one: Experiment, peer: str, minutes: float, work: Path, peers: Path | None) -> dict[str, Any]:
    """The same of a peer: a configuration of nnU-Net, which has the labelled scans alone, or `bcp`."""
    name = f"{one.name}-{peer}"
    kept = work / f"{name}.json"
    if kept.exists():
        result: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        return result
    if peer == BCP:
        learned = learn_bcp(one, peers or Path(), minutes, work)
    else:
        learned = learn_nnunet(one, peer, minutes, work / name)
    result = {
        "by": learned.by,
        **of_experiment(one, minutes, learned.scores),
        "minutes_since_last_start": round(learned.seconds / 60, 1),
        "steps": learned.iterations,
        "load": round(os.getloadavg()[0], 1),
        "curve": [],
        "plan": learned.plan,
    }
    if peer != BCP:
        result["unlabelled"] = 0
    write_text(kept, json.dumps(result, indent=1) + "\n")
    return result


def of_experiment(one: Experiment, minutes: float, scores: Scores) -> dict[str, Any]:
    """What any training is told by: on what it learned, for how long, where, and how good it is."""
    return {
        "set": one.set,
        "labelled": one.labelled,
        "unlabelled": len(one.cases.unlabelled),
        "minutes": minutes,
        "dice": round(scores.dice, 4),
        "worst": round(scores.worst.dice, 4),
        "hd95": round(scores.hd95, 2) if isfinite(scores.hd95) else None,
        "classes": {name: found["dice"] for name, found in scores.by_class().items()},
        "machine": processor(),
        "cores": os.cpu_count(),
        "date": datetime.now(timezone.utc).date().isoformat(),
    }


def table(results: Sequence[dict[str, Any]]) -> str:
    """What each training came to, in Markdown, and what the scans without a label brought."""
    lines = [
        "| set | labelled | other scans | by | minutes | steps | Dice | worst | load | by class | date | machine |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in results:
        classes = ", ".join(f"{name} {dice:.3f}" for name, dice in one["classes"].items())
        told = [
            one["set"], one["labelled"], one["unlabelled"], one["by"], f"{one['minutes']:g}", one["steps"],
            f"{one['dice']:.4f}", f"{one['worst']:.4f}", one["load"], classes, one["date"],
            f"{one['machine']}, {one['cores']} cores",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(map(str, told))} |")
    gains = [
        f"- {one['set']}, {one['labelled']} labelled: the other scans bring {one['dice'] - other['dice']:+.4f}"
        for one in results
        for other in results
        if (one["by"], one["set"], one["labelled"]) == (other["by"], other["set"], other["labelled"])
        and one["unlabelled"] > 0 == other["unlabelled"]
    ]
    gains += [
        f"- {one['set']}, {one['labelled']} labelled: {one['dice'] - other['dice']:+.4f} over {other['by']}"
        for one in results
        for other in results
        if (one["set"], one["labelled"]) == (other["set"], other["labelled"])
        and one["by"] == "Diff-CL" != other["by"]
        and one["unlabelled"] > 0
    ]
    return "\n".join([*lines, "", *gains]) + "\n"


def draw(results: Sequence[dict[str, Any]], picture: Path) -> None:
    """Dice of the validations against minutes, a panel for each set; without the other scans dashed."""
    sets = sorted({one["set"] for one in results})
    figure = Figure(figsize=(4.2 * len(sets), 3.6), layout="constrained")
    for panel, name in zip(np.atleast_1d(figure.subplots(1, len(sets))), sets, strict=True):
        for one in (one for one in results if one["set"] == name):
            minutes = [entry[0] for entry in one["curve"]] + [one["minutes_since_last_start"]]
            dice = [entry[2] for entry in one["curve"]] + [one["dice"]]
            peer, alone = one["by"] != "Diff-CL", one["unlabelled"] == 0
            label = f"{one['labelled']} labelled" + (f", {one['by']}" if peer else " alone" if alone else "")
            panel.plot(minutes, dice, "s" if peer else "o--" if alone else "o-", markersize=3, label=label)
        panel.set(title=name, xlabel="minutes", ylabel="mean validation Dice", ylim=(0, 1))
        panel.legend(frameon=False, fontsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    keep_picture(figure, picture)


def keep_picture(figure: Figure, picture: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    with replace_file(picture) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def arguments(description: str | None) -> argparse.ArgumentParser:
    """What one may ask of any comparison of trainings."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with a folder for each set")
    parser.add_argument("--work", type=Path, required=True, help="folder of runs and results")
    parser.add_argument("--minutes", type=float, default=60.0, help="of each training, judging included")
    return parser


def main() -> None:
    """Run what is asked for, and show what all of it found."""
    parser = arguments(__doc__)
    parser.add_argument("--sets", nargs="+", default=[], metavar="NAME", help="by default all")
    parser.add_argument("--labelled", nargs="+", type=int, choices=(4, 8), default=[4, 8])
    parser.add_argument("--without", choices=("none", "labelled-alone"), default="none",
                        help="leave out the trainings without the other scans")  # fmt: skip
    parser.add_argument("--beside", nargs="+", choices=(*CONFIGURATIONS, BCP), default=[],
                        help="train configurations of nnU-Net 2, or BCP, as well")  # fmt: skip
    parser.add_argument("--peers", type=Path, help="folder with the clone BCP")
    options = parser.parse_args()
    if BCP in options.beside and options.peers is None:
        parser.error("--beside bcp needs --peers")
    if {*options.beside} & {*CONFIGURATIONS} and find_spec("nnunetv2") is None:
        parser.error("--beside: nnU-Net is not on the path; docs/benchmarks.md says how to get it")
    options.work.mkdir(parents=True, exist_ok=True)
    wanted = [
        one
        for one in experiments(options.data, options.sets, options.labelled)
        if one.unlabelled or options.without == "none"
    ]
    results = []
    for one in wanted:
        turns = [partial(run_experiment, one, Plan(minutes=options.minutes), options.work)]
        if one.unlabelled:
            turns += [
                partial(run_beside, one, peer, options.minutes, options.work, options.peers)
                for peer in options.beside
            ]
        for turn in turns:
            results.append(turn())
            print(f"\r{one.name}, {results[-1]['by']}: Dice {results[-1]['dice']:.4f}")
            write_text(options.work / "any_organ.md", table(results))
            draw(results, options.work / "any_organ.png")
    print(table(results))


if __name__ == "__main__":
    main()

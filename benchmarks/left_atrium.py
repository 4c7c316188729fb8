"""The left-atrium table: supervised, plain and full training with few labels, and what each part is worth.

    python benchmarks/left_atrium.py --data DIR --work WORK

DIR holds `images/`, `labels/` and `train.txt`; the last 16 scans of it validate. Every training has the same number of
CS steps, but for those that are called "half", which are compared with each other. One that was stopped goes on where
it was; one that is done is not repeated. The ensemble's weight is chosen on the validation scans, as when a run is
published. WORK keeps the runs, each with pictures of its median and worst scan; docs/left_atrium/ gets what each run
found, docs/left_atrium.md the table and docs/left_atrium.png the picture of all that were ever run.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from process_memory import memory
from processor import processor

from diffcl.data.cases import find_cases
from diffcl.evaluation.figures import draw_prediction
from diffcl.evaluation.metrics import evaluate_case
from diffcl.evaluation.scores import CaseScore, Scores
from diffcl.files import replace_file, write_text
from diffcl.inference import Predictor
from diffcl.inference.ensemble import Networks
from diffcl.models import Model
from diffcl.publishing.ensemble_weight import choose_ensemble_weight
from diffcl.recipe import Recipe, load_recipe
from diffcl.training import train
from diffcl.training.best import read_best
from diffcl.training.loop import networks_of
from diffcl.training.run import begun
from diffcl.training.validation import ValidationScan, read_validation

VALIDATION = 16
RESULTS = Path(__file__).resolve().parent.parent / "docs" / "left_atrium"

PLAIN: dict[str, dict[str, Any]] = {
    "losses": {"largest_component": False, "pseudo_label_time": None},
    "diffusion": {"late": 0.0},
    "training": {
        "mix": 0.0,
        "average": 0.0,
        "supervised_start": 0,
        "optimiser": "sgd",
        "learning_rate": 0.01,
    },
}
"""The paper's plain form: pseudo-labels from the beginning, of the networks themselves, on unmixed crops."""


@dataclass(frozen=True)
class Experiment:
    """A training of the table.

    Attributes:
        labelled: How many scans are labelled, from the first of the list.
        changes: What it changes in the recipe, by section.
        seed: Of the training.
        share: Of the steps of the others.
    """

    labelled: int
    changes: dict[str, dict[str, Any]] = field(default_factory=dict)
    seed: int = 0
    share: float = 1.0

    def recipe(self, base: Recipe, steps: int) -> Recipe:
        """The recipe of this experiment, its phases shrunk or grown to the number of steps."""
        steps = round(steps * self.share)
        share = steps / base.training.steps
        phases = ("supervised_start", "validate_every")
        schedule = {name: max(1, round(getattr(base.training, name) * share)) for name in phases}
        changes = {**self.changes}
        training = {"steps": steps, "seed": self.seed, **schedule, **changes.pop("training", {})}
        return base.changed(training=training, **changes)


def half(**changes: dict[str, Any]) -> Experiment:
    """Half a training with 8 labelled scans."""
    return Experiment(8, changes, share=0.5)


SECOND_CS = load_recipe("left_atrium").cs.model_dump(include={"filters", "blocks"})
SUPERVISED: dict[str, dict[str, Any]] = {"training": {"method": "supervised"}}
EXPERIMENTS = {
    "supervised 8": Experiment(8, SUPERVISED),
    "full 8": Experiment(8),
    "supervised 4": Experiment(4, SUPERVISED),
    "full 4": Experiment(4),
    "full 8, seed 1": Experiment(8, seed=1),
    "supervised 8, seed 1": Experiment(8, SUPERVISED, seed=1),
    "half 8": half(),
    "half 8, plain form": half(**PLAIN),
    "half 8 without HF-Mamba": half(cs={"hf_mamba_levels": []}),
    "half 8 without contrastive term": half(losses={"eta": 0.0}),
    "half 8 with two CS": half(ds={"diffusion": False, "coarsening": 1, **SECOND_CS}),
    "half 8, pseudo-labels from pure noise": half(losses={"pseudo_label": "sample"}),
    "half 8 with AdamW": half(training={"optimiser": "adamw", "learning_rate": 1e-3}),
    "half 8 in float32": half(training={"precision": "float32"}),
}


def run_experiment(name: str, recipe: Recipe, data: Path, work: Path) -> dict[str, Any]:
    """Train an experiment to its end, or take up what is there, and evaluate its best weights."""
    kept = RESULTS / f"{_slug(name)}.json"
    if kept.exists():
        found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        if trained_by(found["recipe"]) == trained_by(recipe.model_dump(mode="json")):
            return found
    folder = work / _slug(name)
    cases = find_cases(data, labelled=EXPERIMENTS[name].labelled, validation=VALIDATION)
    began = time.monotonic()
    train(cases, recipe, folder, resume=begun(folder), cache=work / "prepared",
          on_step=lambda progress: print(f"\r{name}: {progress.step} of {recipe.training.steps}", end="",
                                         file=sys.stderr))  # fmt: skip
    took = time.monotonic() - began
    model = read_best(folder).model
    validation_scans = [read_validation(case, recipe) for case in cases.validation]
    asked: tuple[Networks, ...] = ("ensemble", "cs", "ds") if networks_of(recipe) == "ensemble" else ("cs",)
    weight = choose_ensemble_weight(model, validation_scans)[0] if "ds" in asked else 0.0
    model = replace(model, info=model.info.model_copy(
        update={"recipe": recipe.changed(inference={"ds_weight": weight})}))  # fmt: skip
    rows = {one: evaluate(model, validation_scans, one) for one in asked}
    _draw_cases(model, validation_scans, rows[asked[0]], folder)
    result = {
        "name": name,
        "labelled": len(cases.labelled),
        "unlabelled": 0 if asked == ("cs",) else len(cases.unlabelled),
        "steps": recipe.training.steps,
        "ds_weight": weight,
        "minutes_since_last_start": round(took / 60, 1),
        "peak_mib": round(memory("VmHWM") / 2**20),
        "cases": {one: found.plain() for one, found in rows.items()},
        "curve": _curve(folder),
        "machine": processor(),
        "date": datetime.now(timezone.utc).date().isoformat(),
        "recipe": recipe.model_dump(mode="json"),
    }
    RESULTS.mkdir(exist_ok=True)
    write_text(kept, json.dumps(result, indent=1) + "\n")
    return result


def trained_by(recipe: dict[str, Any]) -> dict[str, Any]:
    """What of a recipe decides how a training ends."""
    return {name: section for name, section in recipe.items() if name not in {"fine_tuning", "card"}}


def evaluate(model: Model, validation_scans: Sequence[ValidationScan], networks: Networks) -> Scores:
    """Predict the validation scans as users would, and compare with their labels."""
    predictor, found = Predictor(model), []
    for one in validation_scans:
        prediction = predictor(one.scan, networks=networks)
        classes = evaluate_case(prediction.label, one.truth, model.info.recipe.labels)
        report = prediction.report
        found.append(CaseScore(one.name, classes, report.disagreement, report.doubt))
    return Scores(tuple(found))


def table(results: Sequence[dict[str, Any]]) -> str:
    """Means over the validation scans, in Markdown."""
    lines = [
        "| training | labels | steps | network | Dice | worst | Jaccard | HD95, mm | ASD, mm | date | machine |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        for network, cases in result["cases"].items():
            shown = f"ensemble, DS {result['ds_weight']:.1f}" if network == "ensemble" else network.upper()
            numbers = [f"{_mean(cases, 'dice'):.4f}", f"{min(case['dice'] for case in cases):.4f}",
                       f"{_mean(cases, 'jaccard'):.4f}", f"{_mean(cases, 'hd95_mm'):.2f}",
                       f"{_mean(cases, 'asd_mm'):.2f}", result["date"], result["machine"]]  # fmt: skip
            told = [result["name"], str(result["labelled"]), str(result["steps"]), shown, *numbers]
            lines.append(f"| {' | '.join(told)} |")
    return "\n".join(lines) + "\n"


PAGE = """# Left atrium: what each training gives

The scans of lines 65-80 of the list, on their own grids of 0.625 mm; networks at 1.25 mm. Settings and the weight of DS
in the ensemble were chosen on these scans. Made by

```sh
python benchmarks/left_atrium.py --data DIR --work WORK
```

{table}
![Dice of every scan and on the way](left_atrium.png)

Each run computed on one core. What it found, scan by scan, with its whole recipe: `docs/left_atrium/`.
"""


def draw(results: Sequence[dict[str, Any]], picture: Path) -> None:
    """Dice of every scan, and of the validations on the way; shorter trainings are dashed."""
    figure = Figure(figsize=(11, 0.4 * len(results) + 2.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    longest = max(result["steps"] for result in results)
    for place, result in enumerate(results):
        color = colormaps["tab20"](place % 20)
        dice = [case["dice"] for case in next(iter(result["cases"].values()))]
        left.plot(dice, np.full(len(dice), place), "o", alpha=0.6, color=color, markeredgewidth=0)
        left.plot(np.mean(dice), place, "|", color="black", markersize=16)
        steps, means = np.array(result["curve"]).T
        line = "o-" if result["steps"] == longest else "o--"
        right.plot(steps, means, line, markersize=3, color=color, label=result["name"])
    left.set_yticks(range(len(results)), [result["name"] for result in results])
    left.invert_yaxis()
    left.set(xlabel="Dice of each validation scan, mean |")
    right.set(xlabel="step", ylabel="mean validation Dice")
    right.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    with replace_file(picture) as temporary:
        figure.savefig(temporary, dpi=110)


def _draw_cases(
    model: Model, validation_scans: Sequence[ValidationScan], scores: Scores, folder: Path
) -> None:
    """Pictures of the worst and the median scan, which stay in the run's folder."""
    ranked = sorted(scores.cases, key=lambda case: case.dice)
    for which, score in (("worst", ranked[0]), ("median", ranked[len(ranked) // 2])):
        scan = next(
            validation_scan.scan for validation_scan in validation_scans if validation_scan.name == score.case
        )
        found = Predictor(model)(scan, networks=networks_of(model.info.recipe))
        draw_prediction(scan.image, found.label, found.uncertainty, model.info.recipe.labels,
                        folder / f"{which}.png", title=f"{score.case}, Dice {score.dice:.3f}")  # fmt: skip


def _curve(folder: Path) -> list[tuple[int, float]]:
    lines = (folder / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    return [(entry["step"], entry["validation"]["dice"]) for entry in entries if "validation" in entry]


def _mean(cases: Sequence[dict[str, Any]], key: str) -> float:
    return float(np.mean([case[key] for case in cases]))


def _slug(name: str) -> str:
    return "_".join(name.replace(",", "").split())


def main() -> None:
    """Run what is asked for, and show what all of it found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with images/, labels/ and train.txt")
    parser.add_argument("--work", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--only", nargs="+", choices=EXPERIMENTS, default=list(EXPERIMENTS), metavar="NAME")
    parser.add_argument("--steps", type=int, default=load_recipe("left_atrium").training.steps)
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    options = parser.parse_args()
    base = load_recipe("left_atrium")
    recipes = {name: EXPERIMENTS[name].recipe(base, options.steps) for name in options.only}
    results = [run_experiment(name, recipe, options.data, options.work) for name, recipe in recipes.items()]
    files = sorted(RESULTS.glob("*.json"), key=lambda file: list(map(_slug, EXPERIMENTS)).index(file.stem))
    known = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    draw(known, RESULTS.with_suffix(".png"))
    write_text(RESULTS.with_suffix(".md"), PAGE.format(table=table(known)))
    print(table(results))
    if options.json:
        means = {one["name"]: {network: round(_mean(cases, "dice"), 4) for network, cases in one["cases"].items()}
                 for one in results}  # fmt: skip
        print(json.dumps(means))


if __name__ == "__main__":
    main()

"""What each part of the method is worth: trainings with each of them left out, in the same time, with several seeds.

    python benchmarks/ablation.py --data DIR --work WORK --minutes 60

DIR holds a folder for each set, as for `any_organ.py`, whose recipes only name the classes. On each set the whole
method is trained, and then without each part of `PARTS`, with as many labelled patients and minutes, once for a seed. A
training that was stopped goes on where it was; one that is done is not repeated, so seeds may be run on several days.
WORK keeps the runs, what each found (`NAME.json`), the table (`ablation.md`) and the picture (`ablation.png`).

A part pulls on a set where leaving it out costs at least half a point of Dice, or a tenth of HD95, and that by more
than two standard errors of the difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from any_organ import Experiment, arguments, experiments, keep_picture, run_experiment
from matplotlib.figure import Figure

from diffcl.files import write_text
from diffcl.training import Plan

WHOLE = "the whole method"

PARTS: dict[str, dict[str, dict[str, Any]]] = {
    WHOLE: {},
    "without HF-Mamba": {"cs": {"hf_mamba_levels": []}},
    "without the contrastive term": {"losses": {"eta": 0.0}},
    "two CS, without diffusion": {"ds": {"diffusion": False}},
    "CS alone, supervised": {"training": {"method": "supervised"}},
}
"""Name of a row, and what its recipe gives beside the names of the classes."""

WORTH_DICE, WORTH_HD95 = 0.005, 0.1
"""What leaving out a part costs at least where it pulls: of Dice, and as a share of HD95."""

Results = Sequence[Mapping[str, Any]]


def ablations(
    data: Path, sets: Sequence[str], labelled: int, seeds: Sequence[int], parts: Sequence[str]
) -> list[tuple[str, Experiment]]:
    """The trainings, each with the part that it lacks; those of a seed before those of the next."""
    whole = [one for one in experiments(data, sets, [labelled]) if one.unlabelled]
    found = []
    for seed in seeds:
        for one in whole:
            for part in parts:
                changes = {**PARTS[part], "training": {**PARTS[part].get("training", {}), "seed": seed}}
                number = list(PARTS).index(part)
                variant = f"part{number}-seed{seed}"
                found.append((part, replace(one, recipe=one.recipe.changed(**changes), variant=variant)))
    return found


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean and its standard error, which is 0 for a single value."""
    error = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
    return float(np.mean(values)), error


def pulls(whole: Results, lacking: Results) -> bool:
    """Whether a part pulls on a set: of results with it and without it, of as many seeds each."""
    dice, dice_error = _difference(whole, lacking, "dice")
    if dice >= WORTH_DICE and dice > 2 * dice_error:
        return True
    if any(one["hd95"] is None for one in (*whole, *lacking)):
        return False
    cost, error = _difference(lacking, whole, "hd95")
    return bool(cost >= WORTH_HD95 * np.mean([one["hd95"] for one in whole]) and cost > 2 * error)


def _difference(one: Results, other: Results, score: str) -> tuple[float, float]:
    """By how much the first is higher in the mean, and the standard error of that."""
    first, second = (mean_and_error([result[score] for result in results]) for results in (one, other))
    return first[0] - second[0], float(np.hypot(first[1], second[1]))


def table(results: Results) -> str:
    """Means over the seeds, in Markdown; standard errors where there are several."""
    lines = [
        "| set | | seeds | steps | Dice | worst scan | HD95, mm | the part pulls |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(one["set"] for one in results):
        whole = _of(results, name, WHOLE)
        for part in PARTS:
            rows = _of(results, name, part)
            if not rows:
                continue
            told = (
                "" if part == WHOLE or not whole or len(rows) < 2 else ("yes" if pulls(whole, rows) else "no")
            )
            cells = [
                name, part, len(rows), f"{np.mean([one['steps'] for one in rows]):.0f}", _cell(rows, "dice", 4),
                _cell(rows, "worst", 3), _cell(rows, "hd95", 2), told,
            ]  # fmt: skip
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def _of(results: Results, name: str, part: str) -> Results:
    return [one for one in results if (one["set"], one["part"]) == (name, part)]


def _cell(rows: Results, score: str, digits: int) -> str:
    values = [one[score] for one in rows]
    if None in values:
        return "a class was missed"
    mean, error = mean_and_error(values)
    return f"{mean:.{digits}f}" + (f" ± {error:.{digits}f}" if len(values) > 1 else "")


def draw(results: Results, picture: Path) -> None:
    """Dice of every training as a dot and its mean as a line, a panel for each set."""
    sets = list(dict.fromkeys(one["set"] for one in results))
    parts = [part for part in PARTS if any(one["part"] == part for one in results)]
    figure = Figure(figsize=(3.4 * len(sets) + 2, 0.5 * len(parts) + 1.3), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(sets), sharey=True))
    for panel, name in zip(panels, sets, strict=True):
        for row, part in enumerate(parts):
            values = [one["dice"] for one in _of(results, name, part)]
            if values:
                panel.plot(values, [row] * len(values), "o", color="tab:blue", alpha=0.6, markersize=5)
                panel.plot([np.mean(values)] * 2, [row - 0.25, row + 0.25], color="black")
        panel.set(title=name, xlabel="mean validation Dice", yticks=range(len(parts)), yticklabels=parts)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].invert_yaxis()
    keep_picture(figure, picture)


def main() -> None:
    """Run what is asked for, and show what all of it found."""
    parser = arguments(__doc__)
    parser.add_argument("--sets", nargs="+", default=["left-atrium", "cardiac", "abdomen"], metavar="NAME")
    parser.add_argument("--labelled", type=int, choices=(4, 8), default=4, help="patients (4)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--parts", nargs="+", type=int, default=list(range(len(PARTS))),
                        help="; ".join(f"{number}: {part}" for number, part in enumerate(PARTS)))  # fmt: skip
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    chosen = [list(PARTS)[number] for number in options.parts]
    results: list[dict[str, Any]] = []
    for part, one in ablations(options.data, options.sets, options.labelled, options.seeds, chosen):
        found = run_experiment(one, Plan(minutes=options.minutes), options.work)
        results.append({**found, "part": part})
        print(f"\r{one.set}, {part}: Dice {found['dice']:.4f}")
        write_text(options.work / "ablation.md", table(results))
        draw(results, options.work / "ablation.png")
    print(table(results))


if __name__ == "__main__":
    main()

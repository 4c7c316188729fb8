"""What windows, their overlap and DDIM steps are worth: Dice and time of a model on validation scans, by setting.

    python benchmarks/settings.py --model hippocampus --data DIR --validation 40 --steps 1 2 4 8 --picture ddim.png
    python benchmarks/settings.py --model abdomen --data DIR --validation 4 --overlaps 0 0.25 0.5 --picture overlap.png

DIR holds `images/`, `labels/` and perhaps `train.txt`; the last scans validate. Dice is the mean over classes
and scans, on the scans' own grids, by the Predictor. The picture has Dice over that of both which has several values,
the DDIM steps or else the overlap, for the first window and the first value of the other.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from diffcl.data.cases import find_cases
from diffcl.files import replace_file
from diffcl.models import Model, ModelRegistry
from diffcl.publishing.ensemble_weight import choose_ensemble_weight
from diffcl.resources import models_folder
from diffcl.training.validation import ValidationScan, read_validation


def with_settings(model: Model, window: Sequence[int], overlap: float, steps: int) -> Model:
    """The model with another window, another overlap of neighbouring ones, and another number of DDIM steps."""
    recipe = model.info.recipe.changed(
        grid={"window": list(window)}, inference={"overlap": overlap}, diffusion={"sampling_steps": steps}
    )
    return replace(model, info=model.info.model_copy(update={"recipe": recipe}))


def measure(model: Model, validation_scans: Sequence[ValidationScan]) -> dict[str, float]:
    """Dice of CS, of DS and of the ensemble with its best weight, and seconds a scan for asking both."""
    began = time.perf_counter()
    weight, scores = choose_ensemble_weight(model, validation_scans)
    seconds = (time.perf_counter() - began) / len(validation_scans)
    dice = {name: round(one.dice, 4) for name, one in scores.items()}
    return {**dice, "ds_weight": weight, "seconds": round(seconds, 2)}


def draw(rows: dict[float, dict[str, float]], setting: str, title: str, picture: Path) -> None:
    """Dice of each network over the values of a setting."""
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    for network, colour in (("ensemble", "tab:blue"), ("ds", "tab:orange"), ("cs", "tab:grey")):
        style = "--" if network == "cs" and setting == "DDIM steps" else "o-"  # CS takes no steps
        dice = [row[network] for row in rows.values()]
        label = network.upper() if network != "ensemble" else network
        axes.plot(list(rows), dice, style, color=colour, label=label)
    if setting == "DDIM steps":
        axes.set_xscale("log", base=2)
    axes.set_xticks(list(rows), [f"{value:g}" for value in rows])
    axes.set(xlabel=setting, ylabel="mean validation Dice", title=title)
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    with replace_file(picture) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def main() -> None:
    """Try every combination of the settings."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--store", type=Path, default=Path("models"), help="folder of models")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--validation", type=int, required=True, help="scans, from the last of the list")
    parser.add_argument("--windows", nargs="+", help="voxels, like 48x64x48; the model's own by default")
    parser.add_argument(
        "--overlaps", nargs="+", type=float, help="shares of a window; the model's own by default"
    )
    parser.add_argument("--steps", nargs="+", type=int, help="DDIM steps; the model's own by default")
    parser.add_argument("--picture", type=Path, help="draw Dice over DDIM steps or overlaps here")
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    options = parser.parse_args()
    model = ModelRegistry(options.store, models_folder()).load(options.model)
    own = model.info.recipe
    cases = find_cases(options.data, labelled=1, validation=options.validation).validation
    validation_scans = [read_validation(case, own) for case in cases]
    windows = [tuple(map(int, text.split("x"))) for text in options.windows or []] or [own.grid.window]
    overlaps = options.overlaps or [own.inference.overlap]
    table = Table(
        "window", "overlap", "DDIM steps", "ensemble", "CS", "DS", "weight of DS", "s a scan, with scoring"
    )
    found = {}
    numbers = options.steps or [own.diffusion.sampling_steps]
    for window, overlap, steps in product(windows, overlaps, numbers):
        row = measure(with_settings(model, window, overlap, steps), validation_scans)
        name = f"{'x'.join(map(str, window))} {overlap} {steps}"
        found[name] = row
        shown = (row["ensemble"], row["cs"], row["ds"], row["ds_weight"], row["seconds"])
        table.add_row(*name.split(), *map(str, shown))
    Console().print(table)
    if options.picture:
        first = "x".join(map(str, windows[0]))
        title = f"{model.info.name} {model.info.version}, {len(validation_scans)} scans"
        if len(numbers) > 1:
            rows = {float(steps): found[f"{first} {overlaps[0]} {steps}"] for steps in sorted(numbers)}
            draw(rows, "DDIM steps", title, options.picture)
        else:
            rows = {overlap: found[f"{first} {overlap} {numbers[0]}"] for overlap in sorted(overlaps)}
            draw(rows, "overlap of neighbouring windows, share of a window", title, options.picture)
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()

"""What bfloat16 saves and loses: time of both networks for one window, and Dice of the ensemble on validation scans.

    python benchmarks/narrow_numbers.py --model left_atrium
    python benchmarks/narrow_numbers.py --model left_atrium --data DIR
    python benchmarks/narrow_numbers.py --model models/left_atrium/5 --data DIR --record

DIR holds `images/`, `labels/` and perhaps `train.txt`; its last scans must be those that validated the version. Times
are of the processor, the least of several, both formats in turns. `--record` writes what is lost into `model.json` and
`card.md` of a version without such a record, as those have that were published before `diffcl publish` measured it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from processor import processor
from report import show

from diffcl.data.cases import find_cases
from diffcl.files import write_text
from diffcl.inference.engine import choose_engine
from diffcl.models import Model, ModelRegistry
from diffcl.models.metadata import DESCRIPTION, read_info
from diffcl.publishing.card import bfloat16_paragraph
from diffcl.publishing.narrow_numbers import bfloat16_scores
from diffcl.resources import models_folder
from diffcl.training.validation import read_validation, validate

BEFORE = ("**Doubt.**", "![Doubt", "To train it again", "All settings")
"""What may follow the paragraph in a card."""


def seconds(model: Model, runs: int) -> dict[str, float]:
    """What a window takes each network in each format."""
    recipe = model.info.recipe
    image = torch.randn(1, recipe.channels, *recipe.grid.window)
    noise, step = (
        torch.randn(1, recipe.classes, *recipe.grid.window),
        torch.tensor([recipe.diffusion.steps - 1]),
    )
    asks: dict[str, Callable[[], object]] = {}
    for name in ("torch", "bfloat16"):
        engine = choose_engine(model, name)
        asks[f"cs, {name}"] = partial(engine.cs, image)
        asks[f"ds, {name}"] = partial(engine.ds, image, noise, step)
    taken: dict[str, list[float]] = {what: [] for what in asks}
    with torch.inference_mode():
        for run in range(runs + 1):  # the first compiles
            for what, ask in asks.items():
                start = time.process_time()
                ask()
                if run:
                    taken[what].append(time.process_time() - start)
    return {f"{what}, seconds": round(min(values), 3) for what, values in taken.items()}


def loss(model: Model, data: Path) -> dict[str, Any]:
    """What stands in the provenance of a version, measured on its validation scans."""
    names = model.info.provenance["validation"]
    recipe = model.info.recipe
    cases = find_cases(data, labelled=1, validation=len(names), recipe=recipe).validation
    if {case.name for case in cases} != set(names):
        raise SystemExit(f"the last scans of {data} are not those that validated {model.info.name}")
    scans = [read_validation(case, recipe) for case in cases]
    return bfloat16_scores(model, scans, validate(scans, model, engine="torch"))


def record(folder: Path, found: dict[str, Any]) -> None:
    """Write what is lost into a version's description and card."""
    content = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    content["provenance"]["bfloat16"] = found
    write_text(folder / DESCRIPTION, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    lines = (folder / "card.md").read_text(encoding="utf-8").split("\n")
    place = next(number for number, line in enumerate(lines) if line.startswith(BEFORE))
    lines[place:place] = bfloat16_paragraph(read_info(folder))
    write_text(folder / "card.md", "\n".join(lines))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", default="left_atrium", help="name of a published model, or a version's folder"
    )
    parser.add_argument("--data", type=Path, help="folder with the scans of its validation")
    parser.add_argument("--record", action="store_true", help="write it into the version")
    parser.add_argument("--runs", type=int, default=5, help="of each network (5)")
    parser.add_argument("--threads", type=int, default=1, help="that may be used (1)")
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = ModelRegistry(Path("models"), models_folder()).load(options.model)
    if options.record and (model.folder is None or model.info.bfloat16_loss is not None):
        raise SystemExit("the version has a record already")
    result: dict[str, Any] = {"model": options.model, "threads": options.threads, "processor": processor()}
    result |= seconds(model, options.runs)
    if options.data:
        found = loss(model, options.data)
        result |= {f"bfloat16, {name}": value for name, value in found.items()}
        if options.record:
            assert model.folder is not None
            record(model.folder, found)
    show(result, as_json=options.json)


if __name__ == "__main__":
    main()

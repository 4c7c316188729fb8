"""`diffcl evaluate`: how well predictions agree with labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from diffcl.cli.console import console, progress_bar, say

if TYPE_CHECKING:
    from diffcl.evaluation.scores import Scores


def evaluate(
    predictions: Annotated[
        Path, typer.Argument(help="A label, or a folder of labels, image files or DICOM SEG.")
    ],
    labels: Annotated[
        Path, typer.Argument(help="The true label, or a folder of labels named like the predictions.")
    ],
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Name or TOML file of a recipe that names the classes; without, each value is one."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write every case and class, and the summary, as CSV.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON object.")] = False,
) -> None:
    """Compare labels: Dice, Jaccard, HD95 and ASD of every case and class.

    Labels without a prediction are left out. Where a class is in one of two labels only, its distances are
    infinite; means are over the others, and `missed` counts them.

    - `diffcl evaluate predicted/ labels/ --out scores.csv`
    - `diffcl evaluate one.nii.gz other.nii.gz --recipe hippocampus --json`
    """
    from diffcl.evaluation.report import evaluate_folder
    from diffcl.files import write_text
    from diffcl.recipe import load_recipe

    classes = load_recipe(recipe) if recipe else None
    with progress_bar("Comparing") as bar:
        scores = evaluate_folder(predictions, labels, classes, on_case=bar.show)
    if out is not None:
        write_text(out, scores.to_csv())
    if as_json:
        say(scores.to_json())
    else:
        console.print(table(scores))


def table(scores: Scores) -> Table:
    """Means and the worst case of each class."""
    shown = Table("class", "Dice, mean", "sd", "worst", "of case", "Jaccard", "HD95, mm", "ASD, mm", "missed")
    shown.title = f"{len(scores.cases)} cases"
    for name in scores.names:
        row = scores.summary(name)
        shown.add_row(
            name,
            f"{row.mean['dice']:.4f}",
            f"{row.sd['dice']:.4f}",
            f"{row.worst.of(name).dice:.4f}",
            row.worst.case,
            f"{row.mean['jaccard']:.4f}",
            f"{row.mean['hd95']:.2f}",
            f"{row.mean['asd']:.2f}",
            str(row.missed),
        )
    return shown

"""`diffcl evaluate`: how well predictions agree with labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from diffcl.cli.console import console, progress_bar


def evaluate(
    predictions: Annotated[
        Path, typer.Argument(help="A label, or a folder of labels, image files or DICOM SEG.")
    ],
    labels: Annotated[
        Path, typer.Argument(help="The true label, or a folder of labels named like the predictions.")
    ],
    recipe: Annotated[
        str | None, typer.Option(help="Recipe that names the classes; by default each value is a class.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write every case and class, and the summary, as CSV.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON object.")] = False,
) -> None:
    """Compare labels: Dice, Jaccard, HD95 and ASD of every case and class.

    Example:
        diffcl evaluate predicted/ labels/ --out scores.csv
    """
    from diffcl.evaluation.table import evaluate_folder
    from diffcl.io.atomic import write_text
    from diffcl.recipe import load_recipe

    with progress_bar("Comparing", None) as bar:
        table = evaluate_folder(
            predictions,
            labels,
            load_recipe(recipe) if recipe else None,
            on_case=lambda done, total: bar.update(bar.task_ids[0], completed=done, total=total),
        )
    if out is not None:
        write_text(out, table.to_csv())
    if as_json:
        console.out(table.to_json(), highlight=False)
        return
    shown = Table(
        "class", "cases", "Dice", "sd", "worst", "worst case", "Jaccard", "HD95, mm", "ASD, mm", "missed"
    )
    for name in table.names:
        row = table.summary(name)
        shown.add_row(
            name, str(len(table.cases)), f"{row.mean['dice']:.4f}", f"{row.sd['dice']:.4f}",
            f"{row.worst.of(name).dice:.4f}", row.worst.case,
            f"{row.mean['jaccard']:.4f}", f"{row.mean['hd95']:.2f}", f"{row.mean['asd']:.2f}", str(row.missed),
        )  # fmt: skip
    console.print(shown)

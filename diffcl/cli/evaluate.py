"""`diffcl evaluate`: how well predictions agree with labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from diffcl.cli.console import console, print_json


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
    out: Annotated[Path | None, typer.Option(help="Write one line a case and class as CSV.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """Compare labels: Dice, Jaccard, HD95 and ASD of every case and class.

    Example:
        diffcl evaluate predicted/ labels/ --out scores.csv
    """
    from diffcl.io.atomic import write_text
    from diffcl.recipe import load_recipe

    table = evaluate_files(predictions, labels, load_recipe(recipe).labels if recipe else None)
    if out is not None:
        write_text(out, table.csv())
    if as_json:
        print_json(table.summary())
        return
    shown = Table("class", "cases", "Dice", "sd", "worst", "worst case", "Jaccard", "HD95, mm", "ASD, mm")
    for name, row in table.summary().items():
        shown.add_row(
            name, str(row["cases"]), f"{row['dice']:.4f}", f"{row['dice_sd']:.4f}", f"{row['dice_worst']:.4f}",
            str(row["worst_case"]), f"{row['jaccard']:.4f}", f"{row['hd95_mm']:.2f}", f"{row['asd_mm']:.2f}",
        )  # fmt: skip
    console.print(shown)

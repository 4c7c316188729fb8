"""`diffcl models`: what is there, how good, from what."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from diffcl.cli.console import DEFAULT_STORE, StoreOption, console, print_json


def models(
    store: StoreOption = DEFAULT_STORE,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list.")] = False,
) -> None:
    """List the models: what they segment, how well, and what they learned from."""
    from diffcl.inference import ModelStore
    from diffcl.shipped import models_folder

    known = ModelStore(store, models_folder())
    infos = [known.info(name) for name in known.names()]
    if as_json:
        print_json(
            [
                {
                    "name": info.name,
                    "version": info.version,
                    "versions": known.versions(info.name),
                    "title": info.recipe.title,
                    "labels": {entry.name: entry.value for entry in info.recipe.labels},
                    "scores": info.scores,
                    "labelled": len(info.provenance.get("labelled", [])),
                    "unlabelled": len(info.provenance.get("unlabelled", [])),
                    "folder": str(known.folder(info.name)),
                }
                for info in infos
            ]
        )
        return
    table = Table("name", "version", "segments", "validation Dice", "labelled", "unlabelled")
    for info in infos:
        scores = info.scores.get("ensemble")
        table.add_row(
            info.name,
            str(info.version),
            info.recipe.title or ", ".join(entry.name for entry in info.recipe.labels),
            f"{scores['dice']:.4f} (worst {scores['dice_worst']:.4f})" if scores else "not measured",
            str(len(info.provenance.get("labelled", []))),
            str(len(info.provenance.get("unlabelled", []))),
        )
    console.print(table if infos else "No models yet: train one with diffcl train, then diffcl publish.")

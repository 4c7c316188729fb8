"""`diffcl models`: what is there, how good, from what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from diffcl.cli.console import console, say, say_json, warn
from diffcl.cli.options import DEFAULT_STORE, StoreOption
from diffcl.errors import ModelError

if TYPE_CHECKING:
    from diffcl.inference import ModelInfo


def models(
    store: StoreOption = DEFAULT_STORE,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list.")] = False,
) -> None:
    """List the models: what they segment, how well, and what they learned from.

    - `diffcl models`
    - `diffcl models --json | jq -r .[].name`
    """
    from diffcl.inference import ModelStore
    from diffcl.shipped import models_folder

    known = ModelStore(store, models_folder())
    infos, damaged = [], 0
    for name in known.names():
        try:
            infos.append(known.info(name))
        except ModelError as error:
            damaged += 1
            warn(str(error))
    if as_json:
        places = {info.name: {"versions": known.versions(info.name), "folder": str(known.folder(info.name))}
                  for info in infos}  # fmt: skip
        say_json([{**describe(info), **places[info.name]} for info in infos])
    elif infos:
        console.print(table(infos))
    elif not damaged:
        say("No models yet. Train one with diffcl train, then diffcl publish it.")
    if damaged:
        raise typer.Exit(1)


def describe(info: ModelInfo) -> dict[str, Any]:
    """What a script may want to know of a model."""
    return {
        "name": info.name,
        "version": info.version,
        "created": info.created,
        "title": info.recipe.title,
        "modality": info.recipe.modality,
        "labels": {entry.name: entry.value for entry in info.recipe.labels},
        "scores": info.scores,
        "labelled": _count(info, "labelled"),
        "unlabelled": _count(info, "unlabelled"),
        "data": info.recipe.card.data,
        "terms": info.recipe.card.terms,
    }


def table(infos: list[ModelInfo]) -> Table:
    """What a person may want to know of the models."""
    shown = Table("model", "segments", "validation Dice", "learned from")
    for info in infos:
        dice = info.scores.get("ensemble")
        shown.add_row(
            f"{info.name} {info.version}",
            info.recipe.title or ", ".join(entry.name for entry in info.recipe.labels),
            f"{dice['dice']:.3f}, worst {dice['dice_worst']:.3f}" if dice else "not measured",
            f"{_count(info, 'labelled')} labelled, {_count(info, 'unlabelled')} unlabelled. {info.recipe.card.data}",
        )
    return shown


def _count(info: ModelInfo, kind: str) -> int:
    return len(info.provenance.get(kind, []))

"""`diffcl models`: what is there, how good, from what; its versions, and the way back to one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from diffcl.cli.console import console, say, say_json, warn
from diffcl.cli.options import DEFAULT_STORE, StoreOption
from diffcl.errors import ModelError

if TYPE_CHECKING:
    from diffcl.models import ModelInfo, ModelRegistry


app = typer.Typer(invoke_without_command=True)

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON list.")]
NameArgument = Annotated[str, typer.Argument(help="Name of the model.")]


@app.callback()
def models(
    context: typer.Context,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """List the models: what they segment, how well, and what they learned from.

    - `diffcl models`
    - `diffcl models --json | jq -r .[].name`
    - `diffcl models history hippocampus --store scans/models`
    - `diffcl models rollback hippocampus 2 --store scans/models`
    """
    if context.invoked_subcommand is not None:
        context.default_map = {context.invoked_subcommand: {"store": str(store)}}
        return
    known = open_store(store)
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


@app.command()
def history(name: NameArgument, store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """List all versions of a model: how good, from what, and why each was published or not.

    The store of a server is the folder `models` inside its studies, unless it was given another.

    - `diffcl models history hippocampus --store scans/models`
    """
    from diffcl.models.metadata import read_info

    known = open_store(store)
    used, shown, listed = known.info(name).version, Table("version", "made", "validation Dice", "learned from",
                                                           "started from", "why"), []  # fmt: skip
    for number in known.versions(name):
        try:
            info = read_info(known.version_folder(name, number))
        except ModelError as error:
            warn(str(error))
            continue
        origin = info.provenance
        decision = origin.get("decision", {"published": True, "reason": "Published."})
        listed.append(
            {
                **describe(info),
                "current": number == used,
                "parent": origin.get("parent"),
                "decision": decision,
                "scans": {kind: origin.get(kind, []) for kind in info.learned_from},
            }
        )
        shown.add_row(
            f"{number} in use" if number == used else str(number),
            info.created[:16].replace("T", " "),
            _dice(info),
            _learned_from(info),
            _start(info),
            decision["reason"],
        )
    if as_json:
        say_json(listed)
    else:
        console.print(shown)


@app.command()
def rollback(
    name: NameArgument,
    version: Annotated[int, typer.Argument(min=1, help="Number of the version to use from now on.")],
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Use another version of a model from now on, older or newer; a running server does so at its next request.

    No version is lost: go back the same way. The models that come with diffcl are never changed.

    - `diffcl models rollback hippocampus 1 --store scans/models`
    """
    known = open_store(store)
    before = known.in_use(name)
    known.switch(name, version)
    say(f"{name}: version {version} is in use, before it was {before}")


def open_store(store: Path) -> ModelRegistry:
    """The user's models and those that come with diffcl."""
    from diffcl.models import ModelRegistry
    from diffcl.resources import models_folder

    return ModelRegistry(store, models_folder())


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
        "labelled": info.learned_from["labelled"],
        "unlabelled": info.learned_from["unlabelled"],
        "data": info.recipe.card.data,
        "terms": info.recipe.card.terms,
    }


def table(infos: list[ModelInfo]) -> Table:
    """What a person may want to know of the models."""
    shown = Table("model", "segments", "validation Dice", "learned from")
    for info in infos:
        shown.add_row(
            f"{info.name} {info.version}",
            info.recipe.title or ", ".join(entry.name for entry in info.recipe.labels),
            _dice(info),
            f"{_learned_from(info)}. {info.recipe.card.data}",
        )
    return shown


def _dice(info: ModelInfo) -> str:
    dice = info.scores.get("ensemble")
    return f"{dice['dice']:.3f}, worst {dice['dice_worst']:.3f}" if dice else "not measured"


def _start(info: ModelInfo) -> str:
    if "uploaded" in info.provenance:
        return "an upload"
    parent = info.provenance.get("parent")
    return f"{parent['name']} {parent['version']}" if parent else "scratch"


def _learned_from(info: ModelInfo) -> str:
    counts = info.learned_from
    return f"{counts['labelled']} labelled, {counts['unlabelled']} unlabelled"

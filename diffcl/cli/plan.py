"""`diffcl plan`: what a training would choose for these scans, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffcl.cli.console import console, progress_bar, say, say_json, warn


def plan(
    recipe: Annotated[str, typer.Option(help="Name of a recipe that comes with diffcl, or a TOML file.")],
    data: Annotated[Path, typer.Option(help="Folder with `images/` and `labels/`, and perhaps `train.txt`.")],
    labelled: Annotated[
        str | None,
        typer.Option(
            metavar="N|FILE",
            help="How many scans, from the first, are labelled, or a file of their names; by default all with a label.",
        ),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.1, help="That a training may take; an hour where nothing is said.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="PNG file: a crop and the classes on a labelled scan.")
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder of what was measured before.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the choices as JSON.")] = False,
) -> None:
    """Choose what a recipe leaves open, by looking at the scans, and say why. Nothing is trained.

    A training does the same before its first step, and its version's recipe holds the result.

    - `diffcl plan --recipe organ.toml --data scans/ --labelled 8 --picture crop.png`
    """
    from rich.table import Table

    from diffcl.cli.train import names
    from diffcl.data.cases import find_cases, outlined
    from diffcl.planning.choices import choose, missing_classes
    from diffcl.planning.picture import draw_crop
    from diffcl.planning.survey import survey
    from diffcl.recipe import load_recipe

    settings = load_recipe(recipe)
    teaching = outlined(data, settings) if labelled is None else names(labelled, "--labelled")
    cases = find_cases(data, labelled=teaching, recipe=settings)
    with progress_bar("Looking at scans"):
        found = survey(cases.labelled, cases.unlabelled, settings, cache)
    chosen, choices = choose(settings, found, minutes)
    if json:
        say_json(
            [
                {
                    "field": f"{one.section}.{one.field}",
                    "value": one.value,
                    "reason": one.reason,
                    "given": one.given,
                }
                for one in choices
            ]
        )
    else:
        table = Table("Field", "Value", "Why", title=f"{settings.name}: {len(found.labelled)} labelled scans")
        for one in choices:
            table.add_row(f"{one.section}.{one.field}", _shown(one.value), one.reason)
        console.print(table)
    for fault in found.passed_over:
        warn(f"Left out of the plan, and refused by a training: {fault}", style="yellow")
    for name in missing_classes(settings, found):
        warn(f"{name} is in no label that was looked at", style="yellow")
    if not settings.open:
        warn(
            "The recipe gives the spacing of its grid, so a training leaves it as it is; planned = true changes that"
        )
    if picture is not None:
        draw_crop(cases.labelled[0], chosen, picture)
        say(f"{picture}: a crop on {cases.labelled[0].name}")


def _shown(value: object) -> str:
    """A value for a table: numbers in short, lists without brackets inside.

    >>> _shown([[2, 2, 1], [2, 2, 2]]), _shown([1.5, 1.5, 10.0]), _shown(True)
    ('2x2x1, 2x2x2', '1.5, 1.5, 10', 'yes')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        inner = [
            "x".join(f"{n:g}" for n in one) if isinstance(one, list | tuple) else _shown(one) for one in value
        ]
        return ", ".join(inner)
    return f"{value:g}" if isinstance(value, int | float) else str(value)

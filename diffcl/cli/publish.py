"""`diffcl publish`: a run becomes a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffcl.cli.console import say
from diffcl.cli.options import DEFAULT_STORE, StoreOption


def publish(
    run: Annotated[Path, typer.Argument(help="Folder of a run of `diffcl train`.")],
    name: Annotated[str, typer.Option(help="Name of the model; a known one gets a new version.")],
    beside: Annotated[
        list[Path] | None,
        typer.Option(
            help="Another run with the same validation scans, whose scores shall stand in the card as well; may be "
            "given more than once."
        ),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Publish only if the Dice on the run's validation scans is at most this much lower than that of the "
            "model in use; otherwise it is kept as a version that is not. By default nothing is compared.",
        ),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Publish the best weights of a run, with scores on its validation scans and a card.

    - `diffcl publish runs/first --name hippocampus`
    - `diffcl publish runs/second --name hippocampus --margin 0.01`
    """
    from diffcl.models import ModelRegistry
    from diffcl.publishing import publish as publish_run
    from diffcl.publishing.gate import publish_if_not_worse
    from diffcl.resources import models_folder

    models = ModelRegistry(store, models_folder())
    if margin is None:
        folder = publish_run(run, name, models, beside=beside or ())
        scores = models.info(name).scores
        dice = f", validation Dice {scores['ensemble']['dice']:.4f}" if scores else ""
        say(f"{folder}: published as the current version of {name}{dice}")
        return
    version = publish_if_not_worse(run, name, models, margin=margin, beside=beside or ())
    say(f"{models.version_folder(name, version.number)}: {version.decision.reason}")
    if not version.decision.published:
        raise typer.Exit(1)

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
    baseline: Annotated[
        Path | None,
        typer.Option(
            help="A supervised run on the same scans, whose score is to stand beside it in the card."
        ),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Publish the best weights of a run, with scores on its validation scans and a card.

    - `diffcl publish runs/first --name hippocampus`
    """
    from diffcl.inference import ModelStore
    from diffcl.training import publish as publish_run

    models = ModelStore(store)
    folder = publish_run(run, name, models, baseline=baseline)
    scores = models.info(name).scores
    dice = f", validation Dice {scores['ensemble']['dice']:.4f}" if scores else ""
    say(f"{folder}: published as the current version of {name}{dice}")

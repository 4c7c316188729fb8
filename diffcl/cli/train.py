"""`diffcl train`: networks of a recipe from labelled and unlabelled scans."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from diffcl.cli.console import progress_bar, say, warn
from diffcl.cli.options import DeviceOption, usable
from diffcl.errors import UsageError

if TYPE_CHECKING:
    from diffcl.recipe import Recipe
    from diffcl.training import Progress


def train(
    recipe: Annotated[str, typer.Option(help="Name of a recipe that comes with diffcl, or a TOML file.")],
    data: Annotated[
        Path,
        typer.Option(
            help="Folder with `images/` and `labels/`, and perhaps `train.txt`, which gives the order."
        ),
    ],
    labelled: Annotated[
        str,
        typer.Option(
            metavar="N|FILE", help="How many scans, from the first, are labelled, or a file of their names."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    validation: Annotated[
        str,
        typer.Option(
            metavar="N|FILE", help="How many scans, from the last, validate, or a file of their names."
        ),
    ] = "0",
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue a run that was stopped or killed.")
    ] = False,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps in all; the recipe's phases shrink or grow with it.")
    ] = None,
    method: Annotated[
        Literal["diff_cl", "supervised"] | None,
        typer.Option(help="The whole method, or CS on the labelled scans alone; the recipe's by default."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Decides every random number; the recipe's by default.")
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder for prepared scans, which several runs may share; in the run by default."),
    ] = None,
    device: DeviceOption = "cpu",
) -> None:
    """Train CS and DS on labelled and unlabelled scans.

    All scans that are neither labelled nor for validation are unlabelled: no file of `labels/` is opened for
    them. The run's folder holds its settings, a journal of every loss term, curves, checkpoints and the best
    weights. A run that was stopped or killed continues with the same command and `--resume`, to the same result.

    - `diffcl train --recipe hippocampus --data scans/ --labelled 16 --validation 40 --out runs/first`
    - `diffcl train --recipe my.toml --data scans/ --labelled labelled.txt --out runs/mine --steps 500`
    """
    from diffcl import training
    from diffcl.data.cases import find_cases
    from diffcl.recipe import load_recipe

    settings = changed(load_recipe(recipe), steps=steps, method=method, seed=seed)
    first, last = names(labelled, "--labelled"), names(validation, "--validation")
    cases = find_cases(data, labelled=first, validation=last)
    total = settings.training.steps
    warn(f"{settings.name}: {len(cases.labelled)} labelled, {len(cases.unlabelled)} unlabelled, "
         f"{len(cases.validation)} validation scans, {total} steps")  # fmt: skip
    with progress_bar("Preparing", total) as bar:

        def show(progress: Progress) -> None:
            losses = progress.losses
            bar.show(progress.step, text=f"L_c {losses['L_c']:.3f}  L_d {losses['L_d']:.3f}")
            if progress.scores is not None:
                warn(f"step {progress.step}: validation Dice {progress.scores.dice:.4f}, "
                     f"worst {progress.scores.worst.dice:.4f}")  # fmt: skip

        try:
            best = training.train(
                cases, settings, out, resume=resume, cache=cache, device=usable(device), on_step=show
            )
        except KeyboardInterrupt:
            warn(f"{out}: stopped. Continue with the same command and --resume")
            raise
    score = "" if best is None else f", best validation Dice {best.dice:.4f}"
    say(f"{out}: {total} steps done{score}")


def changed(recipe: Recipe, *, steps: int | None, method: str | None, seed: int | None) -> Recipe:
    """The recipe with what the command line changes. Its phases keep their share of the steps."""
    fields: dict[str, object] = {}
    if steps is not None:
        share = steps / recipe.training.steps
        fields["steps"] = steps
        for phase in ("supervised_start", "validate_every"):
            fields[phase] = max(1, round(getattr(recipe.training, phase) * share))
    if method is not None:
        fields["method"] = method
    if seed is not None:
        fields["seed"] = seed
    return recipe.changed(training=fields)


def names(text: str, option: str) -> int | Path:
    """A number of scans, or a file of names.

    Raises:
        UsageError: If the text is neither.
    """
    if text.isdecimal():
        return int(text)
    if not Path(text).is_file():
        raise UsageError(f"{option} {text}", "is neither a number nor a file", "Give one of them")
    return Path(text)

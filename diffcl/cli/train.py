"""`diffcl train`: networks of a recipe from labelled and unlabelled scans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from diffcl.api import usable_device
from diffcl.cli.console import console, errors, progress_bar, say, warn
from diffcl.cli.options import DEFAULT_STORE, DeviceOption, StoreOption
from diffcl.errors import UsageError

if TYPE_CHECKING:
    from diffcl.recipe import Recipe
    from diffcl.training import Parent, Progress


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
    minutes: Annotated[
        float | None,
        typer.Option(
            min=0.1, help="Time from now to the published model, instead of steps; the schedule runs over it."
        ),
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
    start_from: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Name or folder of a published model whose weights to start from, by the recipe's schedule for that.",
        ),
    ] = None,
    networks: Annotated[
        Literal["both", "cs", "ds"],
        typer.Option(help="Which learn; with --start-from, the other one may stay as it is."),
    ] = "both",
    store: StoreOption = DEFAULT_STORE,
    device: DeviceOption = "cpu",
) -> None:
    """Train CS and DS on labelled and unlabelled scans.

    All scans that are neither labelled nor for validation are unlabelled: no file of `labels/` is opened for
    them. The run's folder holds its settings, a journal of every loss term, curves, checkpoints and the best
    weights. A run that was stopped or killed continues with the same command and `--resume`, to the same result.

    - `diffcl train --recipe hippocampus --data scans/ --labelled 16 --validation 40 --out runs/first`
    - `diffcl train --recipe my.toml --data scans/ --labelled labelled.txt --out runs/mine --steps 500`
    - `diffcl train --recipe hippocampus --data mine/ --labelled 8 --out runs/mine --start-from hippocampus`
    - `torchrun --nproc-per-node 2 --no-python diffcl train ...` trains on two processes or GPUs, to the same result.
    """
    from diffcl import training
    from diffcl.data.cases import find_cases
    from diffcl.data.patients import check_sides, of_same_patients, patients_by_name, patients_in_file
    from diffcl.recipe import load_recipe
    from diffcl.training import distributed

    settings = changed(load_recipe(recipe), method=method, seed=seed)
    parent = None if start_from is None else find_parent(start_from, store, settings)
    plan = training.Plan(steps=steps, minutes=minutes, parent=parent, learns=networks)
    first, last = names(labelled, "--labelled"), names(validation, "--validation")
    cases = find_cases(data, labelled=first, validation=last, recipe=settings)
    teaching, validating = ([case.name for case in some] for some in (cases.labelled, cases.validation))
    plain = [case.name for case in cases.unlabelled]
    by_name = patients_by_name([*teaching, *plain, *validating], settings.patient)
    patients = by_name | patients_in_file(data)
    check_sides(teaching, validating, patients)
    if known := of_same_patients(plain, validating, patients):
        cases = replace(cases, unlabelled=tuple(case for case in cases.unlabelled if case.name not in known))
        warn(f"{len(known)} of the scans without a label left out: other scans of the same patients validate")
    total = plan.schedule(settings).training.steps
    length = f"{minutes:g} minutes" if minutes else f"{total} steps"
    done: int | None = None
    with distributed.joined(usable_device(device)) as own, progress_bar("Preparing", total) as bar:
        if distributed.rank() > 0:
            console.quiet = errors.quiet = True  # one process speaks for all
        warn(f"{settings.name}: {len(cases.labelled)} labelled, {len(cases.unlabelled)} unlabelled, "
             f"{len(cases.validation)} validation scans, {length}")  # fmt: skip

        def show(progress: Progress) -> None:
            nonlocal done
            losses, done = progress.losses, progress.step
            bar.show(progress.step, progress.steps, text=f"L_c {losses['L_c']:.3f}  L_d {losses['L_d']:.3f}")
            if progress.scores is not None:
                warn(f"step {progress.step}: validation Dice {progress.scores.dice:.4f}, "
                     f"worst {progress.scores.worst.dice:.4f}")  # fmt: skip

        def tell(remarks: Sequence[str]) -> None:
            for remark in remarks:
                warn(remark)

        try:
            best = training.train(
                cases,
                settings,
                out,
                plan=plan,
                resume=resume,
                cache=cache,
                device=own,
                on_step=show,
                on_remarks=tell,
            )
        except KeyboardInterrupt:
            warn(f"{out}: stopped. Continue with the same command and --resume")
            raise
    score = "" if best is None else f", best validation Dice {best.dice:.4f}"
    say(f"{out}: {done or total} steps done{score}")


def changed(recipe: Recipe, *, method: str | None, seed: int | None) -> Recipe:
    """The recipe with what the command line changes."""
    fields = {"method": method, "seed": seed}
    return recipe.changed(training={key: value for key, value in fields.items() if value is not None})


def find_parent(model: str, store: Path, recipe: Recipe) -> Parent:
    """The published version to start from.

    Raises:
        UsageError: If there is no such model, or its networks are not those of the recipe.
    """
    from diffcl.models import ModelRegistry
    from diffcl.resources import models_folder
    from diffcl.training import Parent

    parent = Parent.of(ModelRegistry(store, models_folder()).folder(model))
    why = parent.unlike(recipe)
    if why:
        raise UsageError(f"--start-from {model}", why, "Start from another model, or from scratch")
    return parent


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

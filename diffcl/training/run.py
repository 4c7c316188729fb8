"""The folder of a run: what it was made of, so that it can be continued and published.

RUN/recipe.json         all settings, before the schedule of this run
RUN/plan.json           how long it lasts and where it starts from
RUN/cases.json          which scans were used for what
RUN/prepared.json       where the prepared scans are, and what the scans are like
RUN/last/               of the last part, in which the validation scans teach too
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from diffcl.data.cases import Cases, LabelledCase, UnlabelledCase
from diffcl.errors import UsageError
from diffcl.files import make_folder, write_text
from diffcl.recipe import Recipe, Training, parse_recipe
from diffcl.training.journal import read_journal
from diffcl.training.schedule import Plan

LAST = "last"
"""Folder of the last part inside a run."""

PREPARED = "prepared"
"""Folder of prepared scans inside a run, unless they are kept elsewhere."""


@dataclass(frozen=True)
class Run:
    """What a run was made of.

    Attributes:
        recipe: All settings, before the schedule of this run.
        cases: Its scans.
        plan: How it departs from the recipe.
        id: Tells it from every other run; empty for one of a program that gave none.
    """

    recipe: Recipe
    cases: Cases
    plan: Plan
    id: str = ""

    @property
    def scheduled(self) -> Recipe:
        """The recipe with the schedule of this run before its last part."""
        return self.plan.schedule(self.recipe)


def begun(folder: Path) -> bool:
    """Whether a folder holds a run."""
    return (folder / "recipe.json").is_file()


def check_unused(folder: Path) -> None:
    """Refuse a folder for a new run that holds anything but prepared scans.

    Raises:
        UsageError: If it does.
    """
    if folder.exists() and any(entry.name != PREPARED for entry in folder.iterdir()):
        raise UsageError(folder, "already holds a run", "Continue it with --resume, or name another folder")


def start_run(folder: Path, cases: Cases, recipe: Recipe, plan: Plan) -> Run:
    """Write down what a new run is made of. The recipe is written last: with it, all is there.

    Raises:
        OutputError: If that is not possible.
    """
    run = Run(recipe, cases, plan, uuid4().hex)
    make_folder(folder)
    documents = {
        "cases.json": describe_cases(cases),
        "plan.json": {**plan.to_json(), "id": run.id},
        "recipe.json": recipe.model_dump(mode="json"),
    }
    for name, content in documents.items():
        write_text(folder / name, json.dumps(content, indent=2) + "\n")
    return run


def continue_run(folder: Path, cases: Cases, recipe: Recipe, plan: Plan) -> Run:
    """The run in a folder, if it is the one asked for; what a kill left half-written is removed.

    Raises:
        UsageError: If its recipe, plan or cases differ.
    """
    run = read_run(folder)
    asked = plan
    if plan.minutes:  # of a run by time the first is what version 0.1.0 chose, the other what was foreseen
        asked = replace(plan, steps=run.plan.steps, expected=run.plan.expected)
    for name, same in (
        ("recipe.json", run.recipe == recipe),
        ("cases.json", run.cases == cases),
        ("plan.json", run.plan == asked),
    ):
        if not same:
            raise UsageError(folder / name, "differs from what was asked for now",
                             "Resume with the same recipe and cases, or start a new run")  # fmt: skip
    for stale in folder.glob(".*"):
        stale.unlink()
    return run


def read_run(folder: Path) -> Run:
    """What the run in a folder is made of.

    Raises:
        UsageError: If there is none.
    """
    try:
        recipe = parse_recipe(
            json.loads((folder / "recipe.json").read_text(encoding="utf-8")), folder / "recipe.json"
        )
        listed = json.loads((folder / "cases.json").read_text(encoding="utf-8"))
        plan = folder / "plan.json"
        planned = json.loads(plan.read_text(encoding="utf-8")) if plan.exists() else {}
    except (OSError, json.JSONDecodeError) as error:
        raise UsageError(folder, "holds no run", "Give the folder that diffcl train wrote") from error

    def labelled(kind: str) -> tuple[LabelledCase, ...]:
        return tuple(
            LabelledCase(c["name"], Path(c["image"]), Path(c["label"]), tuple(c.get("not_outlined", ())))
            for c in listed[kind]
        )

    unlabelled = tuple(UnlabelledCase(c["name"], Path(c["image"])) for c in listed["unlabelled"])
    cases = Cases(labelled("labelled"), unlabelled, labelled("validation"))
    return Run(recipe, cases, Plan.from_json(planned) if planned else Plan(), planned.get("id", ""))


def steps_done(folder: Path) -> int:
    """How many steps a run has taken, its last part included."""
    parts = (read_journal(place / "journal.jsonl") for place in (folder, folder / LAST))
    return sum(int(entries[-1]["step"]) for entries in parts if entries)


def schedule_done(folder: Path, run: Run) -> Training:
    """The schedule that a run has gone through before its last part: of one by time, with the steps that it took."""
    training = run.scheduled.training
    entries = read_journal(folder / "journal.jsonl")
    if run.plan.minutes is None or not entries:
        return training
    steps = entries[-1]["step"]
    start = round(training.supervised_start * steps / training.steps)
    return training.model_copy(update={"steps": steps, "supervised_start": start})


@dataclass(frozen=True)
class Preparation:
    """How the scans of a run were prepared.

    Attributes:
        cache: Folder of the prepared scans.
        traits: Of the scans that taught, see `diffcl.data.traits`; none where a run of version 0.1.0 kept none.
        remarks: What a person should know of all that taught, see `diffcl.training.scans.training_remarks`.
    """

    cache: Path
    traits: tuple[dict[str, float], ...] = ()
    remarks: tuple[str, ...] = ()


def note_preparation(folder: Path, made: Preparation) -> None:
    """Write down how the scans of a run were prepared.

    Raises:
        OutputError: If that is not possible.
    """
    own = made.cache == folder / PREPARED
    content = {
        "cache": None if own else str(made.cache.absolute()),
        "traits": made.traits,
        "remarks": made.remarks,
    }
    write_text(folder / "prepared.json", json.dumps(content, indent=2) + "\n")


def read_preparation(folder: Path) -> Preparation:
    """How the scans of a run were prepared."""
    try:
        content = json.loads((folder / "prepared.json").read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return Preparation(folder / PREPARED)
    cache = Path(content["cache"] or folder / PREPARED)
    return Preparation(cache, tuple(content["traits"]), tuple(content.get("remarks", ())))


def describe_cases(cases: Cases) -> dict[str, list[dict[str, Any]]]:
    """The cases of each kind as plain values: name, scan and, where it is known, label and what it says nothing of."""

    def plain(case: LabelledCase | UnlabelledCase) -> dict[str, Any]:
        found = {key: value for key, value in dataclasses.asdict(case).items() if value != ()}
        return {key: list(value) if isinstance(value, tuple) else str(value) for key, value in found.items()}

    return {
        "labelled": [plain(case) for case in cases.labelled],
        "unlabelled": [plain(case) for case in cases.unlabelled],
        "validation": [plain(case) for case in cases.validation],
    }

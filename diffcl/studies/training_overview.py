"""How the trainings of a task went and how the one at work goes, from what they leave on the disk."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from diffcl.errors import DiffclError
from diffcl.studies.progress import ENDED, Progress
from diffcl.training.journal import read_journal
from diffcl.training.run import read_run

MOST_POINTS: Final = 200
"""Points of a curve; of a longer one the mean of neighbours is kept."""

MOST_RUNS: Final = 20
"""Former runs that are told of, the newest ones."""

TERMS: Final = ("L_c", "L_d")
"""Losses that are shown: of CS and of DS, each with all its terms."""

Curve = Sequence[tuple[int, float]]
"""A number after each of some steps."""


@dataclass(frozen=True)
class FormerRun:
    """A training that went to its end.

    Attributes:
        number: Of the run.
        version: That it became; None where that is not known.
        published: Whether that was put into use.
        reason: Why, one sentence.
        ended: When that was decided, in seconds since 1970.
    """

    number: int
    version: int | None
    published: bool
    reason: str
    ended: float


@dataclass(frozen=True)
class TrainingOverview:
    """How a task is trained.

    Attributes:
        task: Its name.
        told: What was told last; empty where it was never trained. See `Progress`.
        losses: A curve for each of `TERMS`.
        validation: Mean Dice on the validation scans, 0..1.
        scans: Names of those that teach with a label, without one, and that validate, of the last run.
        former: Runs that ended, newest first.
    """

    task: str
    told: Mapping[str, Any] = field(default_factory=dict)
    losses: Mapping[str, Curve] = field(default_factory=dict)
    validation: Curve = ()
    scans: Mapping[str, Sequence[str]] = field(default_factory=dict)
    former: Sequence[FormerRun] = ()

    @property
    def runs(self) -> bool:
        """Whether one is at work."""
        return bool(self.told) and self.told.get("status") not in ENDED

    @property
    def broke_off(self) -> bool:
        """Whether the last one ended without a version."""
        return self.told.get("status") in ("stopped", "failed")

    @property
    def minutes_left(self) -> float | None:
        """How long the steps will still take; None where that is not known."""
        seconds = self.told.get("seconds_left")
        return float(seconds) / 60 if self.runs and isinstance(seconds, int | float) else None

    @property
    def refused(self) -> Mapping[str, str]:
        """Why each scan that was left out was left out."""
        found = self.told.get("refused")
        return found if isinstance(found, dict) else {}


def training_overview(task: str, folder: Path, progress: Progress) -> TrainingOverview:
    """How a task is trained.

    Args:
        task: Its name.
        folder: Where its trainings work, see `diffcl.studies.training.StudyTraining`.
        progress: Of the last one.
    """
    told = progress.read()
    former = _former(folder)
    current = folder / "current"
    run = current if (current / "recipe.json").is_file() or not former else folder / str(former[0].number)
    losses: dict[str, list[tuple[int, float]]] = {term: [] for term in TERMS}
    validation, step = [], 0
    for entry in read_journal(run / "journal.jsonl"):
        step = entry.get("step", 0)
        for term in TERMS:
            if isinstance(entry.get(term), int | float):
                losses[term].append((step, float(entry[term])))
        if isinstance(entry.get("validation"), dict) and entry["validation"].get("dice") is not None:
            validation.append((step, float(entry["validation"]["dice"])))
    if run == current and told.get("status") in ENDED:  # its last steps were taken after it was told of last
        told = {**told, "epoch": max(step, told.get("epoch", 0))}
    shown = {term: thinned(curve) for term, curve in losses.items() if any(value for _, value in curve)}
    return TrainingOverview(task, told, shown, thinned(validation), _scans(run), former)


def thinned(curve: Curve, most: int = MOST_POINTS) -> Curve:
    """A curve of at most so many points, each the mean of its neighbours.

    >>> thinned([(1, 4.0), (2, 2.0), (3, 1.0), (4, 0.0), (5, 6.0)], 3)
    [(2, 3.0), (4, 0.5), (5, 6.0)]
    """
    width = -(-len(curve) // most) if curve else 1
    pieces = [curve[start : start + width] for start in range(0, len(curve), width)]
    return [(piece[-1][0], sum(value for _, value in piece) / len(piece)) for piece in pieces]


def _scans(run: Path) -> dict[str, list[str]]:
    """The names of the scans of a run; none where it holds no run."""
    try:
        cases = read_run(run).cases
    except (DiffclError, KeyError, TypeError):
        return {}
    return {
        "labelled": [case.name for case in cases.labelled],
        "unlabelled": [case.name for case in cases.unlabelled],
        "validation": [case.name for case in cases.validation],
    }


def _former(folder: Path) -> list[FormerRun]:
    """The last runs that ended, newest first; one whose decision cannot be read is left out."""
    numbers = (
        [int(entry.name) for entry in folder.iterdir() if entry.name.isascii() and entry.name.isdigit()]
        if folder.is_dir()
        else []
    )
    found = []
    for number in sorted(numbers, reverse=True)[:MOST_RUNS]:
        try:
            file = folder / str(number) / "decision.json"
            decision = json.loads(file.read_text(encoding="utf-8"))
            published, reason = bool(decision["published"]), str(decision["reason"])
            found.append(FormerRun(number, decision.get("version"), published, reason, file.stat().st_mtime))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return found

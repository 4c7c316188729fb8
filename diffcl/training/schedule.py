"""How a run departs from its recipe: how long it lasts, and where it starts from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from diffcl.errors import UsageError
from diffcl.models.metadata import read_info
from diffcl.recipe import Recipe

AVERAGED_SHARE = 0.1
"""The averaged weights look back over this share of the steps at most."""

VALIDATIONS = 2
"""Of a fine-tuning: in its middle and at its end."""

CHECKPOINTS = 4
"""At least, in a run whose length is not the recipe's."""

LONGEST_START = 0.5
"""Of a run shorter than the recipe's, that `training.least_start` may keep for the supervised start."""

LAST_RATE = 0.5
"""Of the learning rate of a run, at the peak of its last part."""

LAST_AVERAGED = 0.3
"""Share of the last part over which its averages look back, which is long: it begins with good weights."""

LEARNED_SHARE = 0.05
"""Share of a recipe's steps from random weights below which nothing is taken for learned."""

TUNED_SHARE = 0.25
"""The same of the fewer steps from published weights."""


@dataclass(frozen=True)
class Parent:
    """The published version from whose weights a run starts.

    Attributes:
        name: Of the model.
        version: Its number.
        folder: Where it is.
    """

    name: str
    version: int
    folder: Path

    @classmethod
    def of(cls, folder: Path) -> Parent:
        """The version in a folder.

        Raises:
            ModelError: If there is none.
        """
        info = read_info(folder)
        return cls(info.name, info.version, folder)

    def unlike(self, recipe: Recipe) -> str:
        """Why its weights do not fit the networks of a recipe; empty if they do."""
        own = read_info(self.folder).recipe
        if own.classes != recipe.classes:
            return (
                f"{self.name} {self.version} has {own.classes} classes with background, not {recipe.classes}"
            )
        if own.sequences_in_words != recipe.sequences_in_words:
            return (
                f"{self.name} {self.version} takes {own.sequences_in_words}, not {recipe.sequences_in_words}"
            )
        for kind, one, other in (("CS", own.cs, recipe.cs), ("DS", own.ds, recipe.ds)):
            if one != other:
                return f"{self.name} {self.version} has a {kind} of another shape"
        return ""


@dataclass(frozen=True)
class Plan:
    """How a run departs from its recipe.

    Attributes:
        steps: Optimiser steps in all; None for as many as the recipe says.
        minutes: Time for all of it, from the reading of the scans to the published version, instead of a number of
            steps. The schedule runs over that time; see `diffcl.training.time_limit`.
        parent: Where the weights come from; None for random ones.
        learns: Which networks learn; one alone only where the other has weights to keep.
        last_part: Share of the run, at its end, in which the validation scans teach too. What was judged before is kept
            beside the result. 0 keeps them apart for ever, as a benchmark needs it.
        expected: Steps of a run by time before its last part, as they were foreseen when it began.

    Raises:
        UsageError: If one network is to learn alone, from random weights.
    """

    steps: int | None = None
    minutes: float | None = None
    parent: Parent | None = None
    learns: Literal["both", "cs", "ds"] = "both"
    last_part: float = 0.0
    expected: int | None = None

    def __post_init__(self) -> None:
        if self.learns != "both" and self.parent is None:
            raise UsageError(
                f"training {self.learns.upper()} alone",
                "needs a published model, which the other network is taken from",
                "Start from one, or train both networks",
            )

    def schedule(self, recipe: Recipe) -> Recipe:
        """The recipe with the schedule of this run before its last part; its phases keep their share of the steps.

        In a run by time the steps are the length of the schedule, through which it passes in fewer or more.

        >>> from diffcl.recipe import load_recipe
        >>> training = Plan(steps=120).schedule(load_recipe("hippocampus")).training
        >>> training.steps, training.supervised_start, training.validate_every
        (120, 24, 30)
        """
        usual = recipe.training if self.parent is None else recipe.fine_tuning
        steps = self._places(recipe)
        if self.minutes is None:
            steps -= self.last_steps(recipe)
        share = steps / usual.steps
        start = min(steps, round(usual.supervised_start * share))
        if self.parent is None:
            start = max(start, self._least_start(recipe, steps))
            if (steps, start) == (usual.steps, usual.supervised_start):
                return recipe
        alone = {} if self.learns == "both" else {"learns": self.learns}
        every = recipe.training.validate_every * share if self.parent is None else steps / VALIDATIONS
        return recipe.changed(
            training={
                **alone,
                "steps": steps,
                "supervised_start": start,
                "coarse_start": recipe.training.coarse_start if self.parent is None else 0.0,
                "learning_rate": usual.learning_rate,
                "average": min(recipe.training.average, max(0.0, 1 - 1 / (AVERAGED_SHARE * steps))),
                "validate_every": max(1, round(every)),
                "checkpoint_every": max(1, min(recipe.training.checkpoint_every, steps // CHECKPOINTS)),
            }
        )

    def last_steps(self, recipe: Recipe) -> int:
        """Length of the last part, in steps; in a run by time of its schedule."""
        whole = self._places(recipe)
        return min(whole - 1, max(1, round(self.last_part * whole))) if self.last_part > 0 else 0

    def last_schedule(self, recipe: Recipe) -> Recipe:
        """The recipe with the schedule of the last part: small steps, with the unlabelled scans throughout."""
        before, steps = self.schedule(recipe), self.last_steps(recipe)
        training = before.training
        return before.changed(
            training={
                "seed": training.seed + 1,
                "steps": steps,
                "supervised_start": 0,
                "coarse_start": 0.0,
                "learning_rate": training.learning_rate * LAST_RATE,
                "average": min(training.average, 1 - 1 / max(2.0, LAST_AVERAGED * steps)),
                "validate_every": steps,
                "checkpoint_every": max(1, steps // CHECKPOINTS),
            },
            losses={"ramp": 0.0},
        )

    def _places(self, recipe: Recipe) -> int:
        """Steps of the whole run; of a run by time, of its schedule before the last part."""
        usual = recipe.training if self.parent is None else recipe.fine_tuning
        return usual.steps if self.minutes is not None else self.steps or usual.steps

    def _least_start(self, recipe: Recipe, steps: int) -> int:
        """The shortest supervised start of a run from random weights, in steps of its schedule."""
        real = steps if self.minutes is None else self.expected or steps
        shorter = real < recipe.training.steps
        return round(min(LONGEST_START, recipe.training.least_start / real) * steps) if shorter else 0

    def fewest(self, recipe: Recipe) -> int:
        """Steps from which a run of this kind has learned something."""
        if self.parent is None:
            return max(1, round(LEARNED_SHARE * recipe.training.steps))
        return max(1, round(TUNED_SHARE * recipe.fine_tuning.steps))

    def to_json(self) -> dict[str, Any]:
        """Plain values for `from_json`."""
        parent = self.parent and {**vars(self.parent), "folder": str(self.parent.folder)}
        later = {"last_part": self.last_part, "expected": self.expected}
        return {
            "steps": self.steps,
            "minutes": self.minutes,
            "parent": parent,
            "learns": self.learns,
            **later,
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Plan:
        """What `to_json` gave."""
        parent = content["parent"]
        return cls(
            content["steps"],
            content["minutes"],
            parent and Parent(parent["name"], parent["version"], Path(parent["folder"])),
            content.get("learns", "both"),
            content.get("last_part", 0.0),
            content.get("expected"),
        )

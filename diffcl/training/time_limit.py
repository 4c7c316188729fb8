"""Where in its schedule a run is, and when it is over: by its steps, or by the time that it was given.

The schedule is that of a number of steps: learning rate, averages, supervised start and ramps are functions of a place
in it, 0..steps. A run by steps moves on by one place a step. A run by time moves on by the share of its time that a
step takes, however many steps that gives, so that a slow or busy machine takes fewer steps and reaches the end of the
schedule nevertheless.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from statistics import median
from time import monotonic
from typing import Any, Protocol

from diffcl.errors import TooShortError
from diffcl.networks.precision import knows_bfloat16
from diffcl.training.costs import Clock, Costs
from diffcl.training.distributed import first_says

JUDGEMENTS = 4
"""How often the validation scans are predicted after the last step: a validation, the weight of the ensemble, which
takes as long as two, and the version in use at the gate. Once more where a last part has to show what it did to them,
and once more in bfloat16 where the processor knows it."""

PUBLISHING_SECONDS = 30.0
"""For the ONNX files of a version, and the comparison of what they answer with what torch does."""

RECENT = 5
"""Steps by whose duration the next one's is judged."""

VALIDATING_SHARE = 0.1
"""Of the time so far, that validations before the last step may take; what would take more is left to the end."""


@dataclass(frozen=True)
class Length:
    """How long a run by time is, in steps.

    Attributes:
        places: Of the schedule that it goes through.
        fewest: Steps from which it has learned something.
        coarse: Of the places, those at the beginning with coarser voxels, whose steps are quicker than later ones.
    """

    places: int
    fewest: int
    coarse: float = 0.0


class Limit(Protocol):
    """Tells a run where in its schedule it is, and when it is over.

    Attributes:
        last: Number of the last step; None where nobody knows it before.
    """

    last: int | None

    def place(self, step: int) -> float:
        """The place in the schedule that a step reaches which is about to be taken."""

    def reached(self, step: int) -> float:
        """The place that was reached by a step, of a run that begins or goes on after it."""

    def over(self, step: int) -> bool:
        """Whether a step that was just taken is the last one."""

    def validates(self) -> bool:
        """Whether there is time for a validation before the last step."""

    def judged(self) -> None:
        """A validation has just ended."""

    def steps(self, step: int) -> int:
        """How many steps there will be in all, as far as is known after a step."""

    def seconds_left(self) -> float | None:
        """Until the result is published; None where no time is given."""

    def last_part(self, length: Length) -> Limit:
        """The limit of what follows when this part of the run is over."""

    def state(self) -> dict[str, Any]:
        """What `restore` needs, for a checkpoint."""

    def restore(self, state: dict[str, Any]) -> None:
        """Count what was spent before a checkpoint."""


class StepLimit:
    """A run of a number of steps, each of which moves on by one place.

    Args:
        steps: That number.
        after: Steps of the last part, which follows.
    """

    last: int | None

    def __init__(self, steps: int, after: int = 0) -> None:
        self.last = self._steps = steps
        self._after = after

    def place(self, step: int) -> float:
        """The number of the step."""
        return step

    def reached(self, step: int) -> float:
        """The number of the step."""
        return step

    def over(self, step: int) -> bool:
        """After the last one."""
        return step >= self._steps

    def validates(self) -> bool:
        """Always."""
        return True

    def judged(self) -> None:
        """Takes no time that counts."""

    def steps(self, step: int) -> int:  # noqa: ARG002
        """The number that was given, with the last part."""
        return self._steps + self._after

    def seconds_left(self) -> float | None:
        """Nobody gave a time."""
        return None

    def last_part(self, length: Length) -> StepLimit:
        """So many steps more."""
        return StepLimit(length.places)

    def state(self) -> dict[str, Any]:
        """The number of the step says everything."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """See `state`."""


class TimeLimit:
    """A run that ends in time, its result judged and published.

    What judging takes is foreseen from the trial, from the validations since, and from how much slower the steps have
    become than they were then.

    Args:
        length: In steps.
        seconds: For all together.
        costs: What this machine takes.
        begun: When the time began, by the clock.
        now: The clock.
        kept: Share of the time for steps that is kept for the last part.

    Attributes:
        kept: The same.
    """

    last: int | None = None

    def __init__(
        self,
        length: Length,
        seconds: float,
        costs: Costs,
        begun: float,
        now: Clock = monotonic,
        *,
        kept: float = 0.0,
    ) -> None:
        self._length = length
        self._seconds = seconds
        self._costs = costs
        self._begun = self._since = begun
        self._now = now
        self.kept = kept
        self._mark = now()
        self._learned = 0.0
        self._validated = 0.0
        self._place = 0.0
        self._over = False
        self._recent: deque[float] = deque([costs.step], RECENT)

    def place(self, step: int) -> float:  # noqa: ARG002
        """The share of the time for learning that will be over after the next step, of the schedule."""
        done = self._learned + self._a_step
        share = done / (done + max(0.0, self._left_here - self._a_step)) if done > 0 else 0.0
        before = self._place
        self._place = first_says(max(before, min(1.0, share) * self._length.places))
        if before <= self._length.coarse < self._place:
            self._recent = deque([self._costs.step], RECENT)
        return self._place

    def reached(self, step: int) -> float:  # noqa: ARG002
        """What `restore` was told; 0 in a new run."""
        return self._place

    def over(self, step: int) -> bool:
        """Whether less time is left than half a step takes.

        Raises:
            TooShortError: If it is over after too few steps.
        """
        seconds = self._since_mark()
        self._learned += seconds
        self._recent.append(seconds)
        self._over = first_says(self._left_here <= self._a_step / 2)
        if self._over and step < self._length.fewest:
            raise TooShortError(
                f"{self._seconds / 60:g} minutes",
                f"were too short to learn: there was time for {step} steps, of at least {self._length.fewest}, "
                "so nothing is published",
                "Give more minutes, or train when the machine is less busy",
            )
        return self._over

    def validates(self) -> bool:
        """Whether this one and those before take a small share of the time so far."""
        spent = self._now() - self._begun
        return first_says(self._validated + self._costs.validation <= VALIDATING_SHARE * spent)

    def judged(self) -> None:
        """What a validation took is what it will take from now on."""
        seconds = self._since_mark()
        self._validated += seconds
        self._costs = Costs(self._costs.step, seconds / self._slower)

    def steps(self, step: int) -> int:
        """As many as the time holds if they go on taking what they take now, with those of the last part.

        Of the steps that follow those on coarser voxels nothing is known but the trial.
        """
        if self._over and not self.kept:
            return step
        a_step, left, coarse = max(self._a_step, 1e-3), self._left, 0.0
        if self._place <= self._length.coarse:
            part = self._length.coarse / self._length.places
            coarse = max(0.0, min(left, part * (self._learned + self._left_here) - self._learned))
        later = (left - coarse) / (max(a_step, self._costs.step) if coarse else a_step)
        return max(step + 1, round(step + coarse / a_step + later))

    def seconds_left(self) -> float | None:
        """Of all that was given."""
        return max(0.0, self._begun + self._seconds - self._now())

    def last_part(self, length: Length) -> TimeLimit:
        """What is left of the time."""
        costs = Costs(self._a_step, self._costs.validation * self._slower)
        limit = TimeLimit(length, self._seconds, costs, self._begun, self._now)
        limit._since = self._now()
        return limit

    def state(self) -> dict[str, Any]:
        """The place, and seconds of learning, of validations and of all of this part."""
        return {"place": self._place, "learned": self._learned, "validated": self._validated,
                "spent": self._now() - self._since}  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        """Go on at the place, with so much less time."""
        self._place, self._learned = state.get("place", 0.0), state.get("learned", 0.0)
        self._validated = state.get("validated", 0.0)
        self._begun -= state.get("spent", 0.0)
        self._since -= state.get("spent", 0.0)

    def check(self) -> None:
        """Refuse a time in which nothing can be learned, before the first step.

        Raises:
            TooShortError: In one line, with the time that is needed.
        """
        fewest = self._length.fewest
        needed = fewest * self._a_step
        if self._left_here >= needed:
            return
        spent = self._now() - self._begun
        whole = (spent + needed / (1 - self.kept) + self._judging) / 60
        raise TooShortError(
            f"{self._seconds / 60:g} minutes",
            f"are too short to learn here: {spent:.0f} s went by before the first step, {fewest} steps take "
            f"{needed:.0f} s and judging and publishing the result {self._judging:.0f} s",
            f"Give at least {whole + 0.05:.1f} minutes, or a number of steps",
        )

    @property
    def _a_step(self) -> float:
        return median(self._recent)

    @property
    def _slower(self) -> float:
        """How many times as long the machine takes as in the trial, as far as a step shows it.

        The steps of the trial were the dearest ones, so those of coarse or labelled crops alone show it late.
        """
        return max(1.0, self._a_step / self._costs.step) if self._costs.step > 0 else 1.0

    @property
    def _judging(self) -> float:
        judgements = JUDGEMENTS + (self.kept > 0) + knows_bfloat16()
        return (judgements * self._costs.validation + PUBLISHING_SECONDS) * self._slower

    @property
    def _left(self) -> float:
        """Seconds for steps."""
        return self._begun + self._seconds - self._judging - self._now()

    @property
    def _left_here(self) -> float:
        """Seconds for steps of this part."""
        return (1 - self.kept) * (self._learned + self._left) - self._learned

    def _since_mark(self) -> float:
        now = self._now()
        seconds, self._mark = now - self._mark, now
        return seconds

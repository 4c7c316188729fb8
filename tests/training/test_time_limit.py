from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from diffcl.data.cases import Cases
from diffcl.errors import TooShortError
from diffcl.recipe import Recipe
from diffcl.training import Plan, Progress, train
from diffcl.training import time_limit as module
from diffcl.training.checkpoint import load_checkpoint
from diffcl.training.costs import Costs, measure_costs
from diffcl.training.run import read_run, schedule_done
from diffcl.training.scans import Scans, load_scans
from diffcl.training.time_limit import PUBLISHING_SECONDS, Length, TimeLimit

MINUTES = 2.0
SECONDS = 60 * MINUTES

LENGTH = Length(places=100, fewest=1)


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Machine:
    """Takes some seconds for every step of a training.

    Args:
        clock: What goes on.
        seconds: For a step, by how many were taken.
    """

    def __init__(self, clock: Clock, seconds: Callable[[int], float]) -> None:
        self.told: list[Progress] = []
        self._clock = clock
        self._seconds = seconds

    def __call__(self, progress: Progress) -> None:
        self.told.append(progress)
        self._clock.now += self._seconds(len(self.told))


class Killed(BaseException):
    """Stands for a SIGKILL between two steps."""


@pytest.fixture(autouse=True)
def plain_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any processor, taken for one that knows no bfloat16."""
    monkeypatch.setattr(module, "knows_bfloat16", lambda: False)


@pytest.fixture
def scans(cases: Cases, recipe: Recipe, tmp_path: Path) -> Scans:
    return load_scans(cases, recipe, tmp_path / "prepared")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.mark.parametrize(
    ("seconds", "fewest", "most"),
    [
        (lambda _: 5.0, 17, 19),
        (lambda _: 10.0, 8, 10),
        (lambda number: 4.0 if number < 10 else 12.0, 12, 16),
        (lambda number: 12.0 if number < 4 else 3.0, 16, 22),
    ],
    ids=["as foreseen", "twice as slow", "busy later", "busy at first"],
)
def test_the_schedule_ends_with_the_time_however_fast_the_machine_is(
    clock: Clock, seconds: Callable[[int], float], fewest: int, most: int
) -> None:
    begun = clock.now
    limit = TimeLimit(LENGTH, SECONDS, Costs(0.0, 0.0), begun, clock)
    places, steps = walk(limit, clock, seconds)
    assert fewest <= steps <= most
    assert SECONDS * 0.6 < clock.now - begun <= SECONDS - PUBLISHING_SECONDS + seconds(steps)
    assert places == sorted(places)
    assert 0.8 * LENGTH.places < places[-1] <= LENGTH.places
    assert limit.steps(steps) == steps


def always(seconds: float) -> Callable[[int], float]:
    """Takes as long for every step."""
    return lambda _: seconds


def walk(limit: TimeLimit, clock: Clock, seconds: Callable[[int], float]) -> tuple[list[float], int]:
    """Takes steps until the limit is reached; the places in the schedule, and the number of steps."""
    places, step = [], 0
    while True:
        step += 1
        places.append(limit.place(step))
        clock.now += seconds(step)
        if limit.over(step):
            return places, step


def test_quick_steps_on_coarse_voxels_do_not_stand_for_those_that_follow(clock: Clock) -> None:
    """A fine step takes ten times as long as a coarse one; of the former the trial tells."""
    length = replace(LENGTH, coarse=35)
    limit = TimeLimit(length, 10_000.0, Costs(10.0, 0.0), clock.now, clock)
    foreseen, step = [], 0
    while True:
        step += 1
        clock.now += 1.0 if limit.place(step) <= length.coarse else 10.0
        if limit.over(step):
            break
        foreseen.append(limit.steps(step))
    assert all(0.9 * step < one < 1.1 * step for one in foreseen[10:])
    assert limit.steps(step) == step


def test_a_run_by_time_goes_through_its_schedule(
    cases: Cases, recipe: Recipe, tmp_path: Path, clock: Clock
) -> None:
    machine = Machine(clock, lambda _: 9.0)
    best = train(cases, recipe, tmp_path / "run", plan=Plan(minutes=MINUTES), on_step=machine, clock=clock)
    assert best is not None
    assert 9 <= len(machine.told) <= 11
    assert machine.told[-1].steps == machine.told[-1].step == len(machine.told)
    assert machine.told[-1].scores is not None
    left = [progress.seconds_left for progress in machine.told]
    assert left == [SECONDS - 9.0 * number for number in range(len(left))]
    assert all(abs(progress.steps - len(left)) <= 2 for progress in machine.told[4:])
    state = load_checkpoint(tmp_path / "run" / "checkpoint.pt")["learner"]
    assert 0.8 * recipe.training.steps < state["cs"]["optimiser"]["place"] <= recipe.training.steps
    done = schedule_done(tmp_path / "run", read_run(tmp_path / "run"))
    assert done.steps == len(machine.told)
    assert 0 < done.supervised_start < done.steps


def test_what_was_spent_before_a_kill_counts(
    cases: Cases, recipe: Recipe, tmp_path: Path, clock: Clock
) -> None:
    plan, start = Plan(minutes=MINUTES), clock.now
    machine = Machine(clock, lambda _: 9.0)

    def killed(progress: Progress) -> None:
        machine(progress)
        if progress.step == 5:
            raise Killed

    with pytest.raises(Killed):
        train(cases, recipe, tmp_path / "run", plan=plan, on_step=killed, clock=clock)
    kept = load_checkpoint(tmp_path / "run" / "checkpoint.pt")
    assert 2 <= kept["step"] <= 5
    clock.now += 10_000  # until somebody begins it again
    train(cases, recipe, tmp_path / "run", plan=plan, resume=True, on_step=machine, clock=clock)
    lost = 9.0 * (5 - kept["step"] + 1)
    assert clock.now - start - 10_000 <= SECONDS - PUBLISHING_SECONDS + lost + 9.0
    steps = [progress.step for progress in machine.told]
    assert steps[5:] == list(range(kept["step"] + 1, steps[-1] + 1))
    assert 8 <= steps[-1] <= 13  # those that were lost are taken again


def test_what_was_spent_before_the_first_step_counts(
    cases: Cases, recipe: Recipe, tmp_path: Path, clock: Clock
) -> None:
    machine = Machine(clock, lambda _: 9.0)
    plan = Plan(minutes=MINUTES)
    train(cases, recipe, tmp_path / "run", plan=plan, on_step=machine, spent=60.0, clock=clock)
    assert 3 <= len(machine.told) <= 5


def test_a_time_in_which_nothing_can_be_learned_is_refused_before_the_first_step(
    cases: Cases, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffcl.training.loop.measure_costs", lambda *_: Costs(step=6.0, validation=10.0))
    recipe = recipe.changed(training={"steps": 200})
    with pytest.raises(
        TooShortError,
        match=r"^2 minutes: are too short .* 10 steps take 60 s and judging and publishing the result 70 s\. "
        r"Give at least 2\.2 minutes",
    ):
        train(cases, recipe, tmp_path / "run", plan=Plan(minutes=2))
    assert not (tmp_path / "run" / "recipe.json").exists()


def test_a_run_that_had_time_for_too_few_steps_says_so(
    cases: Cases, recipe: Recipe, tmp_path: Path, clock: Clock
) -> None:
    recipe = recipe.changed(training={"steps": 200})
    machine = Machine(clock, lambda _: 40.0)
    with pytest.raises(
        TooShortError,
        match=r"^2 minutes: were too short to learn: there was time for \d steps, of at least 10, ",
    ):
        train(cases, recipe, tmp_path / "run", plan=Plan(minutes=2), on_step=machine, clock=clock)


def test_validations_before_the_last_step_take_a_tenth_of_the_time_so_far(clock: Clock) -> None:
    limit = TimeLimit(LENGTH, 1000.0, Costs(1.0, 10.0), clock.now, clock)

    def learn(limit: TimeLimit, seconds: int) -> bool:
        for step in range(seconds):
            clock.now += 1.0
            limit.over(step + 1)
        return limit.validates()

    assert not learn(limit, 99)
    assert learn(limit, 1)
    clock.now += 12.0
    limit.judged()
    assert not learn(limit, 127), "two of them take 24 seconds of 239"
    again = TimeLimit(LENGTH, 1000.0, Costs(1.0, 12.0), clock.now, clock)
    again.restore(limit.state())
    assert not again.validates()
    assert learn(limit, 1)
    assert again.validates()


def test_dear_steps_after_cheap_ones_do_not_make_judging_longer(clock: Clock) -> None:
    """Those of labelled crops alone, in which a validation was made, cost half of those that follow."""
    begun = clock.now
    limit = TimeLimit(LENGTH, 1000.0, Costs(10.0, 40.0), begun, clock)
    for step in range(1, 101):
        limit.place(step)
        clock.now += 5.0
        assert not limit.over(step)
        if step == 90:
            clock.now += 40.0
            limit.judged()
    walk(limit, clock, always(10.0))
    assert clock.now - begun == pytest.approx(
        1000.0 - module.JUDGEMENTS * 40.0 - PUBLISHING_SECONDS, abs=10.0
    )


@pytest.mark.parametrize("knows", [False, True])
def test_judging_takes_longer_where_steps_have_become_slower_and_in_two_number_formats(
    clock: Clock, knows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both machines begin alike; the one that becomes slower keeps more time for judging."""
    monkeypatch.setattr(module, "knows_bfloat16", lambda: knows)
    over = {}
    for seconds in (10.0, 20.0):
        begun = clock.now
        limit = TimeLimit(LENGTH, 1000.0, Costs(10.0, 40.0), begun, clock)
        walk(limit, clock, always(seconds))
        over[seconds] = clock.now - begun
    judging = (module.JUDGEMENTS + knows) * 40.0 + PUBLISHING_SECONDS
    assert over == pytest.approx({10.0: 1000.0 - judging, 20.0: 1000.0 - 2 * judging}, abs=20.0)


def test_a_trial_tells_what_a_machine_takes_for_all_validation_scans(scans: Scans, recipe: Recipe) -> None:
    one = measure_costs(recipe, scans, "cpu")
    assert one.step > 0
    assert one.validation > 0
    ticks = iter(range(1000))
    two = measure_costs(
        recipe, replace(scans, validation=[*scans.validation] * 2), "cpu", lambda: next(ticks)
    )
    assert two == Costs(step=1, validation=2)
    assert measure_costs(recipe, replace(scans, validation=[]), "cpu").validation == 0


def test_a_trial_does_not_compare_the_noise_of_untrained_networks(
    scans: Scans, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its outlines take a hundred times as long as those of a label, all of which would be kept for judging."""
    compared: list[sitk.Image] = []
    monkeypatch.setattr(
        "diffcl.training.costs.evaluate_case", lambda found, truth, _: compared.extend((found, truth))
    )
    measure_costs(recipe, scans, "cpu")
    truth = sitk.GetArrayFromImage(scans.validation[0].truth)
    assert len(compared) == 2
    for one in compared:
        np.testing.assert_array_equal(sitk.GetArrayFromImage(one), truth)

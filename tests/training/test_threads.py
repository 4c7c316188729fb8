"""A training of a given time has as many threads as make its steps quick, also where others take processors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from diffcl.data.cases import Cases
from diffcl.recipe import Recipe
from diffcl.training import Plan, train
from diffcl.training.costs import measure_costs
from diffcl.training.scans import load_scans
from diffcl.training.threads import SECONDS, TRIED, Threads, as_before


class Machine:
    """Takes steps whose time depends on the number of threads.

    Args:
        seconds: Of a step, by the number of threads.
        most: Threads at most.
    """

    def __init__(self, seconds: Callable[[int], float], most: int = 2) -> None:
        self.seconds, self.now, self.threads = seconds, 0.0, most
        self.used: list[int] = []
        self.chooser = Threads(self._use, most, lambda: self.now)

    def _use(self, threads: int) -> None:
        self.threads = threads

    def walk(self, seconds: float) -> list[int]:
        """Take steps for so long; the threads that each of them had."""
        self.used, end = [], self.now + seconds
        while self.now < end:
            self.used.append(self.threads)
            taken = self.seconds(self.threads)
            self.now += taken
            self.chooser.stepped(taken)
        return self.used


def share(used: list[int], threads: int) -> float:
    return used.count(threads) / len(used)


def quiet(threads: int) -> float:
    return 2.0 / threads


def crowded(threads: int) -> float:
    """Somebody else holds all processors but one."""
    return 2.0 if threads == 1 else 20.0


def test_on_a_quiet_machine_nearly_all_steps_have_all_threads() -> None:
    used = Machine(quiet).walk(3600)
    assert share(used, 2) > 0.98
    assert set(used) == {1, 2}


def test_where_another_program_holds_a_core_one_thread_takes_the_steps() -> None:
    machine = Machine(crowded)
    machine.walk(2 * SECONDS[0] + 10 * crowded(2))
    used = machine.walk(3600)
    assert share(used, 1) > 0.98


@pytest.mark.parametrize("first", [quiet, crowded])
def test_a_change_is_met_with_the_other_number(first: Callable[[int], float]) -> None:
    machine = Machine(first)
    machine.walk(1800)
    machine.seconds = {quiet: crowded, crowded: quiet}[first]
    machine.walk(SECONDS[1] + 200)
    assert share(machine.walk(1800), 1 if first is quiet else 2) > 0.97


def test_a_program_that_comes_is_noticed_within_a_few_steps() -> None:
    machine = Machine(quiet)
    machine.walk(1800)
    machine.seconds = crowded
    used = machine.walk(1800)
    assert used.count(2) < 12 + TRIED


def test_steps_that_hold_more_crops_than_others_do_not_mislead() -> None:
    """A fifth of the steps take twice as long whatever the threads."""
    taken = iter(range(10**6))

    def uneven(threads: int) -> float:
        return quiet(threads) * (2 if next(taken) % 5 == 0 else 1)

    assert share(Machine(uneven).walk(3600), 2) > 0.95


def test_many_threads_are_halved_and_doubled_as_far_as_that_pays() -> None:
    machine = Machine(lambda threads: 1.0 + abs(threads - 2), most=8)
    machine.walk(1800)
    assert share(machine.walk(1800), 2) > 0.95


def test_one_thread_has_no_alternative() -> None:
    assert set(Machine(quiet, most=1).walk(600)) == {1}


def test_a_trial_chooses_the_threads_to_begin_with(
    cases: Cases, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = load_scans(cases, recipe, tmp_path / "prepared")
    seen: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", seen.append)
    now = iter([0.0, 1.0, 9.0, 10.0, 11.0, 20.0, 20.0])  # of the first step only the beginning is asked
    chooser = Threads(seen.append, 2, lambda: 0.0)
    costs = measure_costs(recipe, scans, "cpu", lambda: next(now), chooser)
    assert seen[:3] == [2, 2, 1]
    assert seen[-1] == 1
    assert costs.step == 1.0


def test_a_training_gives_the_threads_back(cases: Cases, recipe: Recipe, tmp_path: Path) -> None:
    with as_before():
        torch.set_num_threads(2)
        train(cases, recipe, tmp_path / "run", plan=Plan(minutes=0.7))
        assert torch.get_num_threads() == 2

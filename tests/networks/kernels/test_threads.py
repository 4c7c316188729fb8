"""Work that compiled kernels share among threads."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from diffcl.networks.kernels import threads
from diffcl.networks.kernels.threads import for_each

TASKS = [(number, 2 * number) for number in range(100)]


@pytest.fixture(params=["OpenMP", "without OpenMP"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param != "OpenMP":
        monkeypatch.setattr(threads, "_openmp", lambda: None)


@pytest.mark.usefixtures("threads", "library")
@pytest.mark.parametrize("count", [1, 2, 5])
def test_every_task_is_done_once(count: int) -> None:
    torch.set_num_threads(count)
    done: list[tuple[int, ...]] = []
    for_each(lambda *task: done.append(task), iter(TASKS))
    assert sorted(done) == TASKS


@pytest.mark.usefixtures("library")
def test_no_task_is_no_work() -> None:
    for_each(lambda *_: pytest.fail("called"), [])


@pytest.mark.usefixtures("threads", "library")
def test_a_failure_reaches_the_caller_after_all_threads_have_ended() -> None:
    torch.set_num_threads(2)
    inside: list[int] = []

    def work(number: int, _: int) -> None:
        inside.append(number)
        if number == 3:
            raise ZeroDivisionError("the third")
        time.sleep(0.001)
        inside.remove(number)

    with pytest.raises(ZeroDivisionError, match="the third"):
        for_each(work, TASKS)
    assert inside == [3]
    done: list[int] = []
    for_each(lambda number, _: done.append(number), TASKS)  # and it goes on as before
    assert len(done) == len(TASKS)


@pytest.mark.usefixtures("threads")
def test_two_threads_work_at_once() -> None:
    torch.set_num_threads(2)
    both = threading.Barrier(2, timeout=60)

    def meet(*_: int) -> None:
        both.wait()

    for_each(meet, [(0, 0), (1, 1)])

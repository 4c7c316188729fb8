"""How many threads a training of a given time takes: fewer, where others hold the processors as well."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from statistics import median
from time import monotonic

import torch

TRIED = 3
"""Steps with each number of threads, of which the quickest one counts: some steps hold more crops than others."""

HOPELESS = 3.0
"""How many times as long as the quickest a step may take before its number of threads is tried no further."""

GAIN = 0.9
"""Of the time of a step, that another number of threads may take at most to be taken instead."""

CHANGED = 2.0
"""By how much longer or shorter than after the last trial steps are, where something else has changed."""

RECENT = 5
"""Steps whose median tells that."""

SECONDS = (60.0, 600.0)
"""Between two trials: at first, and at most. After each that changes nothing the next one waits twice as long."""


def alternatives(threads: int, most: int) -> list[int]:
    """The numbers of threads worth a trial in place of another one.

    >>> alternatives(2, 2), alternatives(1, 2), alternatives(1, 1), alternatives(3, 7)
    ([1], [2], [], [1, 6])
    """
    found = {max(1, threads // 2), min(most, 2 * threads)} - {threads}
    return sorted(found)


class Threads:
    """Finds the number of threads with which steps are quick.

    Each operation waits for the slowest of its threads. Where another program holds a core, the thread there gets its
    turn late, and a step with two threads can take many times as long as with one. So a few steps are taken with
    another number now and then, and soon after the time of a step has changed much.

    Args:
        use: Sets the number.
        most: The number to begin with and never to exceed.
        now: The clock.
    """

    def __init__(self, use: Callable[[int], None], most: int, now: Callable[[], float] = monotonic) -> None:
        self._use, self._most, self._now = use, most, now
        self._threads = most
        self._left: list[int] = []
        self._taken: dict[int, float] = {}
        self._tried = 0
        self._usual: float | None = None
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._wait = SECONDS[0]
        self._since = now()

    @property
    def numbers(self) -> list[int]:
        """The one at present and, after it, those worth a trial in its place."""
        return [self._threads, *alternatives(self._threads, self._most)]

    def choose(self, taken: Mapping[int, float]) -> None:
        """Take the number of threads with which steps are quickest, or stay where little is gained.

        Args:
            taken: Seconds of a step with each, the one at present among them.
        """
        before, best = self._threads, min(taken, key=taken.__getitem__)
        if taken[best] <= GAIN * taken[before]:
            self._threads = best
        self._wait = min(SECONDS[1], 2 * self._wait) if self._threads == before else SECONDS[0]
        self._usual, self._since = None, self._now()
        self._recent.clear()
        self._use(self._threads)

    def stepped(self, seconds: float) -> None:
        """What a step took; perhaps the next one has another number of threads."""
        if self._left:
            self._compare(seconds)
        elif self._due(seconds):
            self._left = self.numbers
            self._taken, self._tried = {}, 0

    def _due(self, seconds: float) -> bool:
        self._recent.append(seconds)
        if len(self._recent) < RECENT or len(self.numbers) == 1:
            return False
        usually = median(self._recent)
        self._usual = self._usual or usually
        if not self._usual / CHANGED < usually < self._usual * CHANGED:
            self._wait = SECONDS[0]
            return True
        return self._now() - self._since >= self._wait

    def _compare(self, seconds: float) -> None:
        threads = self._left[0]
        self._tried += 1
        self._taken[threads] = min(seconds, self._taken.get(threads, seconds))
        if self._tried < TRIED and seconds <= HOPELESS * min(self._taken.values()):
            return
        self._left, self._tried = self._left[1:], 0
        if self._left:
            self._use(self._left[0])
        else:
            self.choose(self._taken)


@contextmanager
def as_before() -> Iterator[None]:
    """Have as many threads of torch afterwards as before."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)

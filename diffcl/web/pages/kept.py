"""Values that take long, made in the background: who asks gets what there is, and waits for a moment at most."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Condition, Thread
from typing import Final, Generic, TypeVar

Value = TypeVar("Value")

WAIT_SECONDS: Final = 0.15
"""How long somebody waits for a newer value than there is."""

FRESH_SECONDS: Final = 0.5
"""How long a value is as good as a new one."""

SHARE: Final = 0.2
"""Share of a processor, at most, that makes values anew."""


class Kept(Generic[Value]):
    """The last value of something that takes long. Safe in threads; nothing is made while nobody asks.

    Args:
        make: Makes it.
        fresh: Seconds for which it is as good as a new one; longer where making it took long twice in a row, for
            what changed may cost more than what stayed, and the first time costs the most.

    Attributes:
        rest: Seconds for which the value that there is counts as new.
    """

    def __init__(self, make: Callable[[], Value], fresh: float = FRESH_SECONDS) -> None:
        self._make, self._fresh = make, fresh
        self._value: Value | None = None
        self._error: Exception | None = None
        self._until = self._cost = 0.0
        self.rest = fresh
        self._round, self._made = 0, 0
        self._state = Condition()

    def now(self, wait: float = WAIT_SECONDS) -> Value | None:
        """The value, made anew if that takes no longer than the wait; None where there is none yet.

        Args:
            wait: Seconds.

        Raises:
            Exception: What making it raised, the last time.
        """
        with self._state:
            if time.monotonic() >= self._until and self._round == self._made:
                self._round += 1
                Thread(target=self._run, args=(self._round,), name="pages", daemon=True).start()
            if self._round != self._made:
                wanted = self._round
                self._state.wait_for(lambda: self._made >= wanted, wait)
            if self._error is not None:
                raise self._error
            return self._value

    @property
    def late(self) -> bool:
        """Whether a newer value is being made."""
        with self._state:
            return self._round != self._made

    def forget(self) -> None:
        """What is asked for next is made anew: something has changed."""
        with self._state:
            self._until = 0.0

    def _run(self, number: int) -> None:
        began, value, error = time.thread_time(), None, None
        try:
            value = self._make()
        except Exception as raised:  # noqa: BLE001  told to whoever asks
            error = raised
        cost = time.thread_time() - began
        with self._state:
            self._value, self._error = (self._value if error else value), error
            self.rest = max(self._fresh, min(cost, self._cost) / SHARE)
            self._until = time.monotonic() + self.rest
            self._cost = cost
            self._made = number
            self._state.notify_all()

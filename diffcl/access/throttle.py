"""Those who guess passwords wait."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from threading import Lock
from typing import Final

FREE: Final = (5, 30)
"""Wrong passwords before one waits: in a name from an address, and from an address in any name."""

LONGEST: Final = 300.0
"""Seconds that one waits at most; it doubles from 2 seconds with every further wrong password."""

FORGET: Final = 900.0
"""Seconds after which wrong passwords are forgotten."""

KNOWN: Final = 10_000
"""Names and addresses that are remembered; the oldest are forgotten first."""


class Throttle:
    """Counts wrong passwords by keys, of which the first is the narrowest."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[int, str], tuple[int, float]] = OrderedDict()
        self._lock = Lock()

    def seconds(self, *keys: str) -> int:
        """How many seconds somebody has to wait; 0 for who need not."""
        now = time.monotonic()
        with self._lock:
            ends = [self._until(level, key) for level, key in enumerate(keys)]
        return max(0, math.ceil(max(ends, default=0.0) - now))

    def failed(self, *keys: str) -> None:
        """A wrong password."""
        now = time.monotonic()
        with self._lock:
            for one in enumerate(keys):
                count, last = self._known.pop(one, (0, now))
                self._known[one] = (1 if now - last > FORGET else count + 1, now)
            while len(self._known) > KNOWN:
                self._known.popitem(last=False)

    def passed(self, *keys: str) -> None:
        """A right one: what was wrong before is forgotten."""
        with self._lock:
            for one in enumerate(keys):
                self._known.pop(one, None)

    def _until(self, level: int, key: str) -> float:
        count, last = self._known.get((level, key), (0, 0.0))
        beyond = count - FREE[min(level, len(FREE) - 1)]
        return last + min(LONGEST, 2.0 ** min(beyond + 1, 20)) if beyond >= 0 else 0.0

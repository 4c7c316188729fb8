"""What is known of a prediction before its work is done: what speaks against it, and how long it will take."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

logger = logging.getLogger("diffcl")

LONG_SECONDS = 10.0
"""Duration from which on a person wants to know how long a prediction will take."""

TIMED_WINDOW = 2
"""Which window is timed: the first one may load libraries and compile."""


@dataclass(frozen=True)
class Outlook:
    """Told once a scan, before most of the work.

    Attributes:
        case: Name of the scan.
        windows: How many the networks are asked of; those that show nothing, as air, are left out.
        seconds: About how long the networks will take, by the time of one window; None for so few windows that they are
            done before they could be timed.
        warnings: In what the scan is unlike those of the training, one sentence each.
    """

    case: str
    windows: int
    seconds: float | None
    warnings: tuple[str, ...]

    def remarks(self) -> list[str]:
        """What a person should know before waiting, without the name of the scan; nothing for a usual one."""
        told = list(self.warnings)
        if self.seconds is not None and self.seconds >= LONG_SECONDS:
            told.append(f"{self.windows} windows will take about {duration(self.seconds)}.")
        return told

    def sentences(self) -> list[str]:
        """The remarks, each with the name of the scan.

        >>> Outlook("head", 96, 250.0, ("The scan's extent is 220 mm.",)).sentences()
        ["head: The scan's extent is 220 mm.", 'head: 96 windows will take about 4 min.']
        >>> Outlook("crop", 1, None, ()).sentences()
        []
        """
        return [f"{self.case}: {remark}" for remark in self.remarks()]


def log_outlook(outlook: Outlook) -> None:
    """Log as warnings what a person should know before waiting."""
    for sentence in outlook.sentences():
        logger.warning(sentence)


def duration(seconds: float) -> str:
    """Seconds or minutes for people.

    >>> duration(44.4), duration(151)
    ('44 s', '3 min')
    """
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


@dataclass
class Watch:
    """Told of every window; tells the outlook when it is known, and how far the work is.

    Args:
        case: Name of the scan.
        warnings: See `Outlook`.
        on_outlook: Told of the outlook, once.
        on_progress: Told how many windows are done, and of how many.
    """

    case: str
    warnings: tuple[str, ...]
    on_outlook: Callable[[Outlook], None] | None = None
    on_progress: Callable[[int, int], None] | None = None
    _since: float = field(default_factory=perf_counter)

    def __call__(self, done: int, total: int) -> None:
        """Note that so many of all windows are done; the first call is before the first one."""
        now = perf_counter()
        if self.on_outlook is not None:
            if done == 0 and total <= TIMED_WINDOW:
                self.on_outlook(Outlook(self.case, total, None, self.warnings))
            elif done == TIMED_WINDOW < total:
                self.on_outlook(Outlook(self.case, total, (now - self._since) * total, self.warnings))
        self._since = now
        if self.on_progress is not None:
            self.on_progress(done, total)


@dataclass
class UnderWay:
    """A prediction that others ask about while it goes on.

    Args:
        model: Name of the model.
        case: Name of the scan.

    Attributes:
        windows: How many the networks are asked of; 0 before that is known.
        done: How many of them are done.
        outlook: None before it is known.
    """

    model: str
    case: str
    windows: int = 0
    done: int = 0
    outlook: Outlook | None = None

    def tell_outlook(self, outlook: Outlook) -> None:
        """Keep the outlook, and log it."""
        self.outlook = outlook
        log_outlook(outlook)

    def tell_progress(self, done: int, windows: int) -> None:
        """Keep how many windows are done."""
        self.done, self.windows = done, windows

    def told(self) -> dict[str, Any]:
        """How far it is, for people: `seconds_left` is None where nobody knows.

        >>> UnderWay("organ", "head", 90, 45, Outlook("head", 90, 180.0, ())).told()["seconds_left"]
        90
        """
        seconds = self.outlook.seconds if self.outlook else None
        left = None if seconds is None else round(seconds * (1 - self.done / max(self.windows, 1)))
        return {
            "model": self.model,
            "image": self.case,
            "windows": self.windows,
            "windows_done": self.done,
            "seconds_left": left,
            "warnings": list(self.outlook.warnings) if self.outlook else [],
        }

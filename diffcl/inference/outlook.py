"""What is known of a prediction before its work is done: what speaks against it, and how long it will take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter

LONG_SECONDS = 10.0
"""From here on a person wants to know how long it will take."""

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

    def sentences(self) -> list[str]:
        """What a person should know before waiting; nothing for a usual scan.

        >>> Outlook("head", 96, 250.0, ("The scan's extent is 220 mm.",)).sentences()
        ["head: The scan's extent is 220 mm.", 'head: 96 windows will take about 4 min.']
        >>> Outlook("crop", 1, None, ()).sentences()
        []
        """
        told = list(self.warnings)
        if self.seconds is not None and self.seconds >= LONG_SECONDS:
            told.append(f"{self.windows} windows will take about {duration(self.seconds)}.")
        return [f"{self.case}: {sentence}" for sentence in told]


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

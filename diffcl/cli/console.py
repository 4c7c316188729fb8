"""Where commands print: results to standard output, progress and errors to standard error."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)
if not console.is_terminal:
    console.width = 140  # a file or pipe has no width of its own; a table must not be cut in it


def say(text: str) -> None:
    """One line of the result, as it is, on standard output.

    In a terminal it goes the way of the progress bar, or it would be written across it.
    """
    (errors if console.is_terminal and errors.is_terminal else console).print(text, markup=False)


def say_json(content: Mapping[str, Any] | list[Any]) -> None:
    """One JSON value on one line of standard output."""
    say(json.dumps(content))


def warn(text: str, style: str = "") -> None:
    """One line for people, as it is, on standard error."""
    errors.print(text, markup=False, style=style)


class Bar:
    """A progress bar."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task
        self._part: TaskID | None = None

    def show(self, done: int, total: int | None = None, text: str | None = None) -> None:
        """Show how many are done and, where they have changed, of how many and what is said before the bar."""
        self._progress.update(self._task, completed=done, total=total, description=text)

    def show_part(self, done: int, total: int) -> None:
        """Show in a second bar how far the one that is being done is, until it is done; not for a single step."""
        if self._part is None and done < total > 1:
            self._part = self._progress.add_task("of this one", total=total)
        if self._part is not None:
            self._progress.update(self._part, completed=done)
            if done >= total:
                self._progress.remove_task(self._part)
                self._part = None


@contextmanager
def progress_bar(text: str, total: int | None = None) -> Iterator[Bar]:
    """A progress bar on standard error; silent where that is no terminal.

    Args:
        text: Said before the bar.
        total: How many there are; None where that shows later.
    """
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=errors, disable=not errors.is_terminal) as progress:
        yield Bar(progress, progress.add_task(text, total=total))

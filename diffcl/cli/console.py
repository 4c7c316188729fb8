"""Where commands print: results to standard output, progress and errors to standard error."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

console = Console()
errors = Console(stderr=True)

StoreOption = Annotated[
    Path,
    typer.Option(
        "--store", envvar="DIFFCL_STORE", help="Folder of your models, looked into before those of diffcl."
    ),
]
DEFAULT_STORE = Path("models")


def print_json(content: Mapping[str, Any] | list[Any]) -> None:
    """One JSON value on one line of standard output."""
    console.out(json.dumps(content, default=str), highlight=False)


@contextmanager
def progress_bar(what: str, total: int | None) -> Iterator[Progress]:
    """A progress bar with one task on standard error; silent where that is no terminal.

    Args:
        what: Said before the bar.
        total: How many there are; None where that shows later.
    """
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=errors,
        disable=not errors.is_terminal,
    )  # fmt: skip
    with bar:
        bar.add_task(what, total=total)
        yield bar

"""Log lines that no client can forge, and what of them others may read."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Final

INDENT: Final = "    | "
"""Beginning of each line of a traceback in a log."""

PATH: Final = re.compile(
    r"(?<![\w/.:])(?:[A-Za-z]:\\|/(?!(?:datastore|docs|infer|ohif|session|train)/))"
    r"(?:[^\s/\\:'\",()<>|]+[/\\])+([^\s/\\:'\",()<>|]*)"
)
"""A path of a machine, other than one of the server's own addresses."""

SESSION: Final = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")

_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def one_line(text: str) -> str:
    r"""A text in which nothing ends a line or steers a terminal.

    >>> one_line("a\nb\x1b[31m")
    'a\\x0ab\\x1b[31m'
    """
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


class OneLine(logging.Formatter):
    """Gives every record one line, as another formatter does, and a traceback below it with `INDENT`.

    Args:
        inner: The other formatter.
    """

    def __init__(self, inner: logging.Formatter | None = None) -> None:
        super().__init__()
        self._inner = inner or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        """The line or lines of a record."""
        plain = logging.makeLogRecord(
            {**record.__dict__, "exc_info": None, "exc_text": None, "stack_info": None}
        )
        lines = [one_line(self._inner.format(plain))]
        if record.exc_info:
            told = self.formatException(record.exc_info).splitlines()
            lines += [INDENT + one_line(line) for line in told]
        return "\n".join(lines)


def tell_failures_in_one_line(handler: logging.Handler) -> None:
    """Let a handler that cannot write a record, as on a full disk, say so in one line rather than with a traceback."""

    def failed(record: logging.LogRecord) -> None:
        told = f"A line of the log is lost ({sys.exc_info()[1]}): {record.name} {record.levelname}"
        with suppress(
            OSError, ValueError, AttributeError
        ):  # nor can the standard error be written, or is there any
            sys.stderr.write(f"{one_line(told)}\n")

    handler.handleError = failed  # type: ignore[method-assign]


def readable_lines(lines: Iterable[str], names: Mapping[str, str] | None = None) -> Iterator[str]:
    """The lines of a log for others to read: without tracebacks, paths and ids of sessions.

    >>> list(readable_lines(["cannot open /home/ann/scans/p07.nii.gz", INDENT + "File /x/y.py, line 3"]))
    ['cannot open .../p07.nii.gz']

    Args:
        lines: Lines of a log or of what a program printed.
        names: What stands for a text in them, such as the path of a folder.
    """
    inside = True  # where the first lines are those of a traceback whose head is missing
    for line in lines:
        if line.startswith(INDENT):
            continue
        if inside and (line.startswith(" ") or not line.strip()):
            continue
        inside = line.lstrip().startswith("Traceback (most recent call last)")
        if not inside:
            yield without_paths(line, names)


def without_paths(text: str, names: Mapping[str, str] | None = None) -> str:
    """A text without paths of this machine, of which the last part stays, and without ids of sessions."""
    for path, name in sorted((names or {}).items(), key=lambda one: -len(one[0])):
        if len(path) > 1:
            text = text.replace(path, name)
    return SESSION.sub("<session>", PATH.sub(r".../\1", text))

"""The journal of a run: every loss term of every step and every validation, one JSON object a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from diffcl.files import finite, not_written, replace_file


class Journal:
    """Appends lines to a file, until its `with` block ends; a resumed run drops what was written after its checkpoint.

    Args:
        path: The file, made when missing.
        last_step: Lines of later steps are dropped.
    """

    def __init__(self, path: Path, last_step: int = 0) -> None:
        kept = [entry for entry in read_journal(path) if entry["step"] <= last_step]
        with replace_file(path) as temporary:
            lines = [json.dumps(finite(entry), allow_nan=False) + "\n" for entry in kept]
            temporary.write_text("".join(lines), encoding="utf-8")
        self._path = path
        self._file = path.open("a", encoding="utf-8")

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def write(self, step: int, entry: dict[str, Any]) -> None:
        """Add a line. A number that is not finite is written as null, however deep it lies.

        Raises:
            OutputError: If it cannot be written.
        """
        line = json.dumps(finite({"step": step, **entry}), allow_nan=False)
        try:
            self._file.write(line + "\n")
            self._file.flush()
        except OSError as error:
            raise not_written(self._path, error) from error


def read_journal(path: Path) -> list[dict[str, Any]]:
    """The lines of a journal; a last line cut off by a kill is left out."""
    if not path.exists():
        return []
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entries.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return entries

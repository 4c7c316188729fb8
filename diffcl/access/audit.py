"""Who did what with which scan, and when: lines of JSON that are only ever added to."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from threading import Lock
from typing import Final

from diffcl.errors import UsageError

FILE: Final = "audit.jsonl"

SIZE: Final = 16 << 20
"""Bytes after which a new file is begun."""

KEPT: Final = 50
"""Files; the oldest goes first."""

LONGEST: Final = 200
"""Characters of the longest value."""

_NUMBERED: Final = re.compile(r"audit\.[0-9]{6,9}\.jsonl")


@dataclass(frozen=True)
class Record:
    """One act.

    Attributes:
        when: UTC, `2026-01-31T12:00:00.000Z`.
        user: Who was logged in; empty where nobody has to.
        address: Where from.
        action: Method and kind of address, such as `PUT /datastore/label`.
        scan: Id of the scan, if it was about one.
        status: What was answered.
    """

    when: str
    user: str
    address: str
    action: str
    scan: str
    status: int


class AuditTrail:
    """A folder of records.

    Args:
        folder: The folder, which is made.
        size: Bytes after which a new file is begun.
        kept: How many files are kept.

    Raises:
        OSError: If it cannot be made.
    """

    def __init__(self, folder: Path, size: int = SIZE, kept: int = KEPT) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder, self._size, self._kept = folder, size, kept
        self._lock = Lock()
        self._cut_off = self._ends_within_a_line()

    def write(self, user: str, address: str, action: str, scan: str, status: int) -> None:
        """Add a record; safe in threads and among processes.

        Raises:
            OSError: If it cannot be written.
        """
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        record = Record(now, user[:LONGEST], address[:LONGEST], action[:LONGEST], scan[:LONGEST], status)
        line = f"{json.dumps(asdict(record))}\n".encode()
        with self._lock:
            line = b"\n" + line if self._cut_off else line
            handle = os.open(self._folder / FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                written = os.write(handle, line)
                self._cut_off = written < len(line)
                if self._cut_off:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), FILE)
                full = os.fstat(handle).st_size >= self._size
            finally:
                os.close(handle)
            if full:
                self._begin_anew()

    def _ends_within_a_line(self) -> bool:
        """Whether a power failure or a full disk has cut the last line off, with which the next would be lost."""
        if not (self._folder / FILE).is_file():
            return False
        with (self._folder / FILE).open("rb") as file:
            return file.seek(0, os.SEEK_END) > 0 and file.seek(-1, os.SEEK_END) >= 0 and file.read() != b"\n"

    def _begin_anew(self) -> None:
        """Number the file that is full, and remove the oldest ones."""
        numbered = _numbered(self._folder)
        last = int(numbered[-1].suffixes[0][1:]) if numbered else 0
        (self._folder / FILE).replace(self._folder / f"audit.{last + 1:06d}.jsonl")
        for old in numbered[: max(0, len(numbered) + 2 - self._kept)]:
            old.unlink(missing_ok=True)


def read_audit(
    folder: Path, *, user: str = "", scan: str = "", action: str = "", since: str = "", until: str = ""
) -> Iterator[Record]:
    """The records of a folder, oldest first, that match whatever is said.

    Args:
        folder: That of an `AuditTrail`.
        user: Name of a user.
        scan: Id of a scan.
        action: Part of an action, such as `label`.
        since: Beginning of a time; records from then on.
        until: Beginning of a time; records before it and at it.

    Raises:
        UsageError: If there is no such trail. A line cut off by a power failure is left out.
    """
    files = [*_numbered(folder), *([folder / FILE] if (folder / FILE).is_file() else [])]
    if not files:
        raise UsageError(folder, "no audit trail", "Name the folder of --work of the server")
    for file in files:
        with file.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    record = Record(**json.loads(line))
                except (ValueError, TypeError):
                    continue
                if (
                    (not user or record.user == user)
                    and (not scan or record.scan == scan)
                    and action.lower() in record.action.lower()
                    and record.when >= since
                    and record.when[: len(until)] <= until
                ):
                    yield record


def _numbered(folder: Path) -> list[Path]:
    return sorted(file for file in folder.glob("audit.*.jsonl") if _NUMBERED.fullmatch(file.name))

"""Who did what with which scan, and when: lines of JSON that are only ever added to.

What was refused stands in files of its own, with a bound of its own, and of one address only as often as a person reads
it: whoever sends refused requests for a month pushes out no record of what was done.
"""

from __future__ import annotations

import atexit
import errno
import heapq
import json
import math
import os
import re
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from threading import Lock
from typing import Final

from diffcl.errors import UsageError

DONE: Final = "audit"
"""Beginning of the names of the files about what was done."""

REFUSED: Final = "refused"
"""Beginning of the names of the files about what was answered with a status of 400 or more."""

SIZE: Final = 16 << 20
"""Bytes after which a new file is begun."""

KEPT: Final = {DONE: 50, REFUSED: 8}
"""Files of each kind; the oldest goes first."""

WINDOW: Final = 600.0
"""Seconds in which the refusals of an address are counted together."""

TOLD: Final = 20
"""Refusals of an address that have a record each; all further ones of the ten minutes have one together."""

KNOWN: Final = 10_000
"""Addresses whose refusals are counted at once; of more the oldest is told and forgotten."""

LONGEST: Final = 200
"""Characters of the longest value."""


@dataclass(frozen=True)
class Record:
    """One act, or refusals of one address that have a record together.

    Attributes:
        when: UTC, `2026-01-31T12:00:00.000Z`.
        user: Who was logged in; empty where nobody has to.
        address: Where from.
        action: Method and kind of address, such as `PUT /datastore/label`; of several the last.
        scan: Id of the scan, if it was about one.
        status: What was answered; to several the last.
        times: How many there were.
        since: UTC; of several, when they began to be counted.
    """

    when: str
    user: str
    address: str
    action: str
    scan: str
    status: int
    times: int = 1
    since: str = ""


class AuditTrail:
    """A folder of records.

    Args:
        folder: The folder, which is made.
        size: Bytes after which a new file is begun.
        kept: How many files of each kind are kept.

    Raises:
        OSError: If it cannot be made.
    """

    def __init__(self, folder: Path, size: int = SIZE, kept: Mapping[str, int] = KEPT) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._files = {kind: _Files(folder, kind, size, most) for kind, most in kept.items()}
        self._counted: OrderedDict[tuple[str, str], tuple[float, Record]] = OrderedDict()
        self._lock = Lock()
        atexit.register(self.close)

    def write(self, user: str, address: str, action: str, scan: str, status: int) -> None:
        """Add a record; safe in threads and among processes.

        Raises:
            OSError: If it cannot be written.
        """
        record = Record(_now(), user[:LONGEST], address[:LONGEST], action[:LONGEST], scan[:LONGEST], status)
        with self._lock:
            if status < 400:
                self._files[DONE].add(record)
            self._tell_counted(time.monotonic() - WINDOW)
            if status >= 400:
                self._refused(record)

    def close(self) -> None:
        """Write what was only counted until now.

        Raises:
            OSError: If it cannot be written.
        """
        with self._lock:
            self._tell_counted(math.inf)

    def _refused(self, record: Record) -> None:
        """Write a refusal, or count it where its address had many."""
        key = record.user, record.address
        begun, counted = self._counted.get(
            key, (time.monotonic(), replace(record, times=0, since=record.when))
        )
        counted = replace(record, times=counted.times + 1, since=counted.since)
        self._counted[key] = begun, counted
        if counted.times <= TOLD:
            self._files[REFUSED].add(record)
        while len(self._counted) > KNOWN:
            self._tell_oldest()

    def _tell_counted(self, before: float) -> None:
        """Write what was counted of the addresses whose ten minutes began before a time of the monotonic clock."""
        while self._counted and next(iter(self._counted.values()))[0] <= before:
            self._tell_oldest()

    def _tell_oldest(self) -> None:
        """Write what was counted of the address whose ten minutes began first."""
        key, (_, counted) = next(iter(self._counted.items()))
        if counted.times > TOLD:
            self._files[REFUSED].add(replace(counted, when=_now(), scan="", times=counted.times - TOLD))
        del self._counted[key]


class _Files:
    """The files of one kind of records, of which one is added to.

    Args:
        folder: Where.
        kind: Beginning of their names.
        size: Bytes after which a new one is begun.
        kept: How many there are at most.
    """

    def __init__(self, folder: Path, kind: str, size: int, kept: int) -> None:
        self._folder, self._kind, self._size, self._kept = folder, kind, size, kept
        self._file = folder / f"{kind}.jsonl"
        self._cut_off = self._ends_within_a_line()

    def add(self, record: Record) -> None:
        """Add a record, and begin a new file where this one is full.

        Raises:
            OSError: If it cannot be written.
        """
        line = f"{json.dumps(asdict(record))}\n".encode()
        line = b"\n" + line if self._cut_off else line
        handle = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            written = os.write(handle, line)
            self._cut_off = written < len(line)
            if self._cut_off:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._file.name)
            full = os.fstat(handle).st_size >= self._size
        finally:
            os.close(handle)
        if full:
            numbered = _numbered(self._folder, self._kind)
            last = int(numbered[-1].suffixes[0][1:]) if numbered else 0
            self._file.replace(self._folder / f"{self._kind}.{last + 1:06d}.jsonl")
            for old in numbered[: max(0, len(numbered) + 2 - self._kept)]:
                old.unlink(missing_ok=True)

    def _ends_within_a_line(self) -> bool:
        """Whether a power failure or a full disk has cut the last line off, with which the next would be lost."""
        if not self._file.is_file():
            return False
        with self._file.open("rb") as file:
            return file.seek(0, os.SEEK_END) > 0 and file.seek(-1, os.SEEK_END) >= 0 and file.read() != b"\n"


def read_audit(
    folder: Path, *, user: str = "", scan: str = "", action: str = "", since: str = "", until: str = ""
) -> Iterator[Record]:
    """The records of a folder, of what was done and what was refused, oldest first, that match whatever is said.

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
    files = {kind: [*_numbered(folder, kind), *folder.glob(f"{kind}.jsonl")] for kind in KEPT}
    if not any(files.values()):
        raise UsageError(folder, "no audit trail", "Name the folder of --work of the server")
    for record in heapq.merge(*map(_records, files.values()), key=lambda record: record.when):
        if (
            (not user or record.user == user)
            and (not scan or record.scan == scan)
            and action.lower() in record.action.lower()
            and record.when >= since
            and record.when[: len(until)] <= until
        ):
            yield record


def _records(files: Iterable[Path]) -> Iterator[Record]:
    """All that can be read in some files."""
    for file in files:
        with file.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    yield Record(**json.loads(line))
                except (ValueError, TypeError):
                    continue


def _numbered(folder: Path, kind: str) -> list[Path]:
    pattern = re.compile(rf"{kind}\.[0-9]{{6,9}}\.jsonl")
    return sorted(file for file in folder.glob(f"{kind}.*.jsonl") if pattern.fullmatch(file.name))


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")

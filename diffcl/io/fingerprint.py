"""What changes when a scan does, told without reading its voxels."""

from __future__ import annotations

from pathlib import Path

from diffcl.errors import ScanError
from diffcl.io.formats import files_of

State = tuple[tuple[int, int], ...]
"""Size in bytes and time of change in nanoseconds of each file of a scan."""


def fingerprint(scan: Path) -> tuple[tuple[Path, int, int], ...]:
    """Path, size in bytes and time of change in nanoseconds of each file of a scan.

    Raises:
        ScanError: If it is not there.
    """
    try:
        states = [(file, file.stat()) for file in files_of(scan)]
    except OSError as error:
        raise ScanError(scan, f"cannot be read ({error.strerror})", "Check the file") from error
    return tuple((file, state.st_size, state.st_mtime_ns) for file, state in states)


def state_of(scan: Path) -> State:
    """Size and time of each file of a scan; the same wherever its folder lies.

    Raises:
        ScanError: If it is not there.
    """
    return tuple((size, time) for _, size, time in fingerprint(scan))

"""Memory of a process, as Linux counts it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def memory(field: str, process: int | str = "self") -> int:
    """A field of a process's status in bytes: VmRSS for what it holds now, VmHWM for the most it held."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith(field + ":")))


def peak_bytes(work: Callable[[], object]) -> int:
    """What some work adds to the memory of this process, at most."""
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # lets the peak start anew
    work()
    return memory("VmHWM") - before

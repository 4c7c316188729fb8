"""The process that reads files for another one; see `diffcl.io.isolated`, which starts it.

A question is a line of JSON. The answer is a line of JSON, and the bytes of the voxels of which it tells the number.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import warnings
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from diffcl.errors import DiffclError
from diffcl.geometry import Geometry
from diffcl.io.planes import Planes
from diffcl.io.read import label_of_file, scan_of_file, scans_of_file
from diffcl.io.reduced import cut_of_label, cut_of_scan
from diffcl.io.slices import label_slices, scan_slices

ITK_HAS_NO_MEMORY: Final = "Failed to allocate memory"
"""What ITK says in a RuntimeError of its own."""

TOO_LARGE: Final = "needs more memory to read than is allowed"

ANOTHER: Final = "Save it with another program and send it again"


def main() -> None:
    """Answer files until the parent ends; what libraries print is lost."""
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    memory = int(sys.argv[1]) if most == resource.RLIM_INFINITY else min(int(sys.argv[1]), most)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the kernel ends the process, whatever code loops in it
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # meant for the parent
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        for line in sys.stdin.buffer:
            question = json.loads(line)
            signal.setitimer(signal.ITIMER_REAL, question["seconds"])
            _answer(question, answers)
            signal.setitimer(signal.ITIMER_REAL, 0)


def _answer(question: dict[str, Any], answers: IO[bytes]) -> None:
    """Read a file and send what is asked of it, or why it cannot be read."""
    kind, path = question["kind"], Path(question["path"])
    about: dict[str, Any] = {}
    try:
        if kind.startswith("cut of "):
            array, about = _cut(kind.removeprefix("cut of "), path, question["longest"], question["planes"])
        elif kind == "series":
            scan_of_file(path, question["series_uid"])
            array = np.zeros(0, np.uint8)
        elif kind == "label":
            image = label_of_file(path)
            array, about = sitk.GetArrayViewFromImage(image), {"grid": numbers(Geometry.of(image))}
        else:
            scans = [scan_of_file(path)] if kind == "scan" else scans_of_file(path)
            arrays, scan = [sitk.GetArrayViewFromImage(one.image) for one in scans], scans[0]
            array = arrays[0] if kind == "scan" else np.stack(arrays)
            about = {"grid": numbers(Geometry.of(scan.image)), "name": scan.name, "remarks": scan.remarks}
    except DiffclError as error:
        send(answers, {"error": type(error).__name__, "what": error.what, "next_step": error.next_step})
        return
    except Exception as error:  # noqa: BLE001 - a fault of ours, which the parent raises as one
        if isinstance(error, MemoryError) or ITK_HAS_NO_MEMORY in str(error):
            send(answers, {"error": "ScanError", "what": TOO_LARGE, "next_step": ANOTHER})
        else:
            send(answers, {"fault": f"{type(error).__name__}: {error}"})
        return
    send(answers, {**about, "shape": array.shape, "type": array.dtype.str})
    answers.write(array.data.cast("B"))
    answers.flush()


def _cut(
    kind: str, path: Path, longest: int, asked: dict[str, Any] | None
) -> tuple[NDArray[Any], dict[str, Any]]:
    """The slices of a cut one after the other, and what else there is to it."""
    planes = None if asked is None else planes_told(asked)
    if kind == "label":
        found = cut_of_label(label_slices(path), longest, planes)
    else:
        found = cut_of_scan(scan_slices(path, first=kind == "first"), longest, planes)
    about = {
        "planes": {"grid": numbers(found.planes.grid), "positions": found.planes.positions},
        "grid": numbers(found.grid),
        "counts": found.counts,
        "window": found.window,
    }
    return np.concatenate([one.ravel() for one in found.slices]), about


def numbers(grid: Geometry) -> tuple[Any, ...]:
    """A grid as JSON can hold it."""
    return grid.size, grid.spacing, grid.origin, grid.direction


def planes_told(told: dict[str, Any]) -> Planes:
    """The planes of which JSON tells."""
    x, y, z = told["positions"]
    return Planes(Geometry(*told["grid"]), (x, y, z))


def send(pipe: IO[bytes] | None, message: dict[str, Any]) -> None:
    """Write a line of JSON."""
    connected(pipe).write(json.dumps(message).encode() + b"\n")
    connected(pipe).flush()


def connected(pipe: IO[bytes] | None) -> IO[bytes]:
    """A pipe to or from a child that was started with pipes."""
    if pipe is None:
        raise ValueError("the child was started with pipes")
    return pipe

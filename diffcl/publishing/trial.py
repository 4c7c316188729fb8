"""The trial of a model that somebody sends, so that none harms the program that takes it, or is published in vain.

    python -m diffcl.publishing.trial ARCHIVE FOLDER WHERE BYTES PARENT

A process of its own, with limits of time and memory, is the first to open the file. It unpacks the model into a folder,
loads it, predicts a scan of one window, and says how many seconds that took, or why the model is refused. What a scan
of the task would take follows from that. Files that end, hang or fill the process that reads them do that to this one.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any
from zipfile import is_zipfile

import numpy as np

from diffcl import errors
from diffcl.data.traits import AXES
from diffcl.errors import DiffclError, ModelError
from diffcl.geometry import Geometry
from diffcl.inference.sliding import longest_side, window_count
from diffcl.io.scan import Scan
from diffcl.models.archive import LARGEST, NEXT_STEP, open_package
from diffcl.models.metadata import WEIGHTS, read_info
from diffcl.models.profile import Profile
from diffcl.processes import end_with_parent
from diffcl.recipe import Recipe

TRIAL_SECONDS = 300.0
"""For the trial, in which libraries are loaded, the model is unpacked, and kernels are compiled."""

OPENING_BYTES = 3 * LARGEST[WEIGHTS] + 2**30
"""Of memory for opening a model: the largest file of weights, and the networks, and what checking them takes."""

WINDOW_BYTES = 6 * 2**30
"""Of memory for the networks at work on one window."""

SCAN_BYTES = 8 * 2**30
"""Of memory for what is kept of a whole scan while it is predicted."""

LONGEST_SECONDS = 3600.0
"""For the prediction of a scan, in which a person still waits for it."""

USUAL_EXTENT_MM = (200.0, 200.0, 150.0)
"""Of a scan, where no model says what its scans were like."""


def try_package(archive: Path, folder: Path, where: str, profiles: Iterable[Profile] = ()) -> None:
    """Unpack a model, and refuse one that is none, or cannot predict a scan within reasonable time and memory.

    Nothing of a ZIP file is read by this process before another one has opened it without harm.

    Args:
        archive: The ZIP file, see `open_package`.
        folder: Where the model is unpacked; empty.
        where: Named in errors.
        profiles: Of models of the same task; the largest scan that they or the model itself know of is looked at.

    Raises:
        ModelError: In one line, with what is wrong or what it would take.
        OutputError: If it cannot be unpacked for want of space.
    """
    if not is_zipfile(
        archive
    ):  # which looks at the end of the file alone, and spares a process that takes seconds
        raise ModelError(where, "is no ZIP file that can be read (File is not a zip file)", NEXT_STEP)
    seconds_of_a_window = _seconds_of_a_window(archive, folder, where)
    info = read_info(folder)
    recipe = info.recipe
    extent = largest_extent((*profiles, info.profile))
    scan = f"a scan of {' x '.join(f'{side:.0f}' for side in extent)} mm"
    size = [math.ceil(side / step) for side, step in zip(extent, recipe.grid.spacing, strict=True)]
    needed = bytes_of(size, recipe.classes, recipe.channels)
    if needed > SCAN_BYTES:
        raise ModelError(where, f"would need {needed / 2**30:.0f} GiB of memory for {scan}",
                         "Train it with a coarser grid.spacing, or fewer classes")  # fmt: skip
    seconds = window_count(size, recipe) * seconds_of_a_window
    if seconds > LONGEST_SECONDS:
        raise ModelError(where, f"would take {seconds / 60:.0f} minutes for {scan}",
                         "Use a coarser grid.spacing, fewer sampling_steps or smaller networks")  # fmt: skip


def largest_extent(profiles: Iterable[Profile]) -> tuple[float, float, float]:
    """Millimetres of the largest scan that profiles know of, along the axes of the working grid.

    >>> largest_extent([Profile(modality="MR")])
    (200.0, 200.0, 150.0)
    """
    ranges = [profile.ranges for profile in profiles]
    known = [
        [one[f"extent {axis}"][1] for axis in names for one in ranges if f"extent {axis}" in one]
        for names in zip(*AXES.values(), strict=True)
    ]
    x, y, z = (max(found, default=usual) for found, usual in zip(known, USUAL_EXTENT_MM, strict=True))
    return x, y, z


def bytes_of(size: Iterable[int], classes: int, channels: int = 1) -> int:
    """What is kept of a scan of so many voxels on the working grid while it is predicted as a whole, as for validation.

    The sequences of the scan and its weights (float32), noise (float16 and, while it is drawn, float32), probabilities
    of both networks and of their mean (float32).
    """
    return math.prod(size) * (4 + 4 * channels + classes * (2 + 4 + 4 + 4 + 4))


def _seconds_of_a_window(archive: Path, folder: Path, where: str) -> float:
    """What a process of its own takes for a scan of one window, after it has unpacked the model."""
    command = [
        sys.executable, "-m", "diffcl.publishing.trial", str(archive), str(folder), where, str(WINDOW_BYTES),
        str(os.getpid()),
    ]  # fmt: skip
    could = f"could not be opened and predict one window with {WINDOW_BYTES / 2**30:.3g} GiB"
    slow = "was not opened and did not predict one window"
    seconds: float = verdict_of(command, where, TRIAL_SECONDS, slow=slow, failed=could)["seconds"]
    return seconds


def verdict_of(
    command: Sequence[str], where: str, seconds: float, *, slow: str, failed: str, told: str = ""
) -> dict[str, Any]:
    """The verdict on a model of a process of its own: the last line that it prints, an object of JSON.

    Args:
        command: Starts the process.
        where: Named in errors.
        seconds: Limit of time.
        slow: What the model did not do within that time, for people.
        failed: What it could not do, where the process ends with an error.
        told: What the process is told on its standard input.

    Raises:
        DiffclError: If the model is refused, or ends the process, or takes too long.
    """
    try:
        done = subprocess.run(
            command, input=told, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ModelError(where, f"{slow} within {seconds:.0f} s",
                         "Use a smaller grid.window, fewer sampling_steps or smaller networks") from error  # fmt: skip
    if done.returncode < 0:
        with suppress(ValueError):
            raise ModelError(where, f"ended the process that tried it ({signal.Signals(-done.returncode).name})",
                             NEXT_STEP)  # fmt: skip
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["the process ended without a word"])[-1][:200]
        raise ModelError(where, f"{failed} ({why})", "Use a smaller grid.window or smaller networks")
    verdict: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if "refused" in verdict:
        kind, *said = verdict["refused"]
        raise getattr(errors, kind)(*said)
    return verdict


def refusal(error: DiffclError, where: str) -> dict[str, Any]:
    """The verdict that refuses a model; see `verdict_of`."""
    named = where if error.where == where else f"{where}: {Path(error.where).name}"
    return {"refused": [type(error).__name__, named, error.what, error.next_step]}


def one_window(recipe: Recipe) -> Scan:
    """A scan of noise of the size of the largest window, which shows nothing but has values that the recipe can use."""
    noise = np.random.default_rng(0)
    x, y, z = map(longest_side, recipe.grid.window, recipe.grains)
    grid = Geometry((x, y, z), recipe.grid.spacing, (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    images = []
    for one in recipe.intensities:
        low, high = (0.0, 1.0) if one.method != "window" else (one.low, one.high)
        images.append(grid.place(noise.uniform(low, high, grid.size).astype(np.float32)))
    return Scan(images[0], "trial", Path("trial"), others=tuple(images[1:]))


def main(archive: Path, folder: Path, where: str, allowed: int) -> None:
    """Open the model, predict twice, the first time for libraries and kernels, and print the seconds of the second.

    Or print why it is refused.
    """
    limit_memory(OPENING_BYTES)
    try:
        with archive.open("rb") as content:
            model = open_package(content, folder, where)
        from diffcl.inference.predictor import Predictor  # takes seconds, which a refusal does not need

        predictor, scan = Predictor(model), one_window(model.info.recipe)
        limit_memory(
            allowed
        )  # after OpenBLAS has what it needs, for which it would otherwise try without end
        predictor(scan)
        start = perf_counter()
        predictor(scan)
        verdict: dict[str, Any] = {"seconds": perf_counter() - start}
    except DiffclError as error:
        verdict = refusal(error, where)
    print(json.dumps(verdict))  # noqa: T201  it is what the parent reads


def limit_memory(allowed: int) -> None:
    """Let this process have so many bytes more than it has; where the system can do that."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        own = 1024 * int(next(line.split()[1] for line in status if line.startswith("VmSize:")))
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        limit = own + allowed if most == resource.RLIM_INFINITY else min(own + allowed, most)
        resource.setrlimit(resource.RLIMIT_AS, (limit, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    end_with_parent(int(sys.argv[5]))
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))

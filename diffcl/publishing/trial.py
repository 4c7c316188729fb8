"""A trial prediction, so that no model is published that takes the machine away or never answers.

    python -m diffcl.publishing.trial FOLDER BYTES PARENT

A process of its own, with limits of time and memory, predicts a scan of one window with the model in a folder, and says
how many seconds that took. What a scan of the task would take follows from that.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from time import perf_counter

import numpy as np

from diffcl.data.traits import AXES
from diffcl.errors import ModelError
from diffcl.geometry import Geometry
from diffcl.inference.sliding import window_count
from diffcl.io.scan import Scan
from diffcl.models.metadata import read_info
from diffcl.models.profile import Profile
from diffcl.models.weights import load_model
from diffcl.processes import end_with_parent
from diffcl.recipe import Recipe

TRIAL_SECONDS = 180.0
"""For the trial, in which libraries are loaded and kernels compiled."""

WINDOW_BYTES = 6 * 2**30
"""Of memory for the networks at work on one window."""

SCAN_BYTES = 8 * 2**30
"""Of memory for what is kept of a whole scan while it is predicted."""

LONGEST_SECONDS = 3600.0
"""For the prediction of a scan, in which a person still waits for it."""

USUAL_EXTENT_MM = (200.0, 200.0, 150.0)
"""Of a scan, where no model says what its scans were like."""


def try_prediction(folder: Path, where: str, profiles: Iterable[Profile] = ()) -> None:
    """Refuse a model that cannot predict a scan within reasonable time and memory.

    Args:
        folder: Of the model.
        where: Named in errors.
        profiles: Of models of the same task; the largest scan that they or the model itself know of is looked at.

    Raises:
        ModelError: In one line, with what it would take.
    """
    info = read_info(folder)
    recipe = info.recipe
    extent = largest_extent((*profiles, info.profile))
    scan = f"a scan of {' x '.join(f'{side:.0f}' for side in extent)} mm"
    size = [math.ceil(side / step) for side, step in zip(extent, recipe.grid.spacing, strict=True)]
    needed = bytes_of(size, recipe.classes, recipe.channels)
    if needed > SCAN_BYTES:
        raise ModelError(where, f"would need {needed / 2**30:.0f} GiB of memory for {scan}",
                         "Train it with a coarser grid.spacing, or fewer classes")  # fmt: skip
    seconds = window_count(size, recipe) * _seconds_of_a_window(folder, where)
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


def _seconds_of_a_window(folder: Path, where: str) -> float:
    """What a process of its own takes for a scan of one window."""
    command = [
        sys.executable, "-m", "diffcl.publishing.trial", str(folder), str(WINDOW_BYTES), str(os.getpid()),
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TRIAL_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise ModelError(where, f"did not predict one window within {TRIAL_SECONDS:.0f} s",
                         "Use a smaller grid.window, fewer sampling_steps or smaller networks") from error  # fmt: skip
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["the process ended without a word"])[-1][:200]
        raise ModelError(where, f"could not predict one window with {WINDOW_BYTES / 2**30:.3g} GiB ({why})",
                         "Use a smaller grid.window or smaller networks")  # fmt: skip
    seconds: float = json.loads(done.stdout.splitlines()[-1])["seconds"]
    return seconds


def one_window(recipe: Recipe) -> Scan:
    """A scan of noise of the size of a window, which shows nothing but has values that the recipe can use."""
    noise = np.random.default_rng(0)
    grid = Geometry(
        recipe.grid.window, recipe.grid.spacing, (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0)
    )
    images = []
    for one in recipe.intensities:
        low, high = (0.0, 1.0) if one.method != "window" else (one.low, one.high)
        images.append(grid.place(noise.uniform(low, high, recipe.grid.window).astype(np.float32)))
    return Scan(images[0], "trial", Path("trial"), others=tuple(images[1:]))


def main(folder: Path, allowed: int) -> None:
    """Predict twice, the first time for libraries and kernels, and print the seconds of the second."""
    from diffcl.inference.predictor import Predictor

    model = load_model(folder)
    _limit_memory(allowed)
    predictor, scan = Predictor(model), one_window(model.info.recipe)
    predictor(scan)
    start = perf_counter()
    predictor(scan)
    print(json.dumps({"seconds": perf_counter() - start}))  # noqa: T201  it is what the parent reads


def _limit_memory(allowed: int) -> None:
    """Let this process have so many bytes more than it has; where the system can do that."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        own = 1024 * int(next(line.split()[1] for line in status if line.startswith("VmSize:")))
        resource.setrlimit(resource.RLIMIT_AS, (own + allowed, own + allowed))


if __name__ == "__main__":
    end_with_parent(int(sys.argv[3]))
    main(Path(sys.argv[1]), int(sys.argv[2]))

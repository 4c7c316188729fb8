"""What the picture of a large scan takes: time of processors and memory, of the server and of the child that reads it.

    PYTHONPATH=tests/support python benchmarks/picture.py --json

A made-up CT with a label, compressed and not, is drawn as the page of a scan shows it, each after a small scan, so that
children and the drawing library are there. Memory is what it adds at most.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from pages import project_of
from process_memory import memory
from report import show
from synthetic import make_label, make_scan

from diffcl.geometry import Geometry
from diffcl.studies.pictures import draw_scan

SPACING = (0.8, 0.8, 1.5)


def write_ct(studies: Path, size: tuple[int, int, int]) -> None:
    """A noisy cylinder in air with a label of two classes, as `ct.nii.gz` and `plain.nii`."""
    x, y, z = (np.linspace(-1, 1, length, dtype=np.float32) for length in size)
    body = np.where(x[:, None] ** 2 + y[None] ** 2 < 0.7, 40, -1000)
    noise = np.random.default_rng(0).normal(0, 20, size[:2])
    scan = np.empty(size, np.int16, order="F")
    label = np.zeros(size, np.uint8, order="F")
    for k in range(size[2]):
        scan[:, :, k] = body + np.roll(noise, 37 * k, (0, 1))
        apart = (x[:, None] - 0.1) ** 2 + y[None] ** 2 + z[k] ** 2
        label[:, :, k] = (apart < 0.05).astype(np.uint8) + (apart < 0.02)
    grid = Geometry(size, SPACING, (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    labels = studies / "labels" / "final"
    labels.mkdir(parents=True)
    for name, suffix in (("ct", ".nii.gz"), ("plain", ".nii")):
        sitk.WriteImage(grid.place(scan), str(studies / f"{name}{suffix}"))
        sitk.WriteImage(grid.place(label), str(labels / f"{name}.nii.gz"))


def children() -> list[int]:
    """Numbers of the processes that this one has started."""
    every = Path("/proc").glob("[0-9]*/stat")
    parents = {
        int(file.parent.name): file.read_text(encoding="utf-8").rpartition(")")[2].split()[1]
        for file in every
    }
    return [process for process, parent in parents.items() if int(parent) == os.getpid()]


def processor_seconds(process: int) -> float:
    """Seconds of processors that a process took so far."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, nargs=3, default=(512, 512, 300))
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    arguments = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        studies = Path(folder) / "studies"
        x, y, z = arguments.size
        write_ct(studies, (x, y, z))
        sitk.WriteImage(make_scan("straight"), str(studies / "small.nii.gz"))
        sitk.WriteImage(make_label("straight"), str(studies / "labels" / "final" / "small.nii.gz"))
        project = project_of(studies, Path(folder) / "store")
        for name in ("small", "ct", "plain"):
            draw_scan(project.studies, "small", project.tasks())
            processes = [os.getpid(), *children()]
            before = [(processor_seconds(one), memory("VmRSS", one)) for one in processes]
            for one in processes:
                Path(f"/proc/{one}/clear_refs").write_text("5", encoding="utf-8")  # lets the peak start anew
            begin = time.perf_counter()
            draw_scan(project.studies, name, project.tasks())
            found[f"{name}: by the clock, s"] = round(time.perf_counter() - begin, 2)
            after = [(processor_seconds(one), memory("VmHWM", one)) for one in processes]
            took = [(t - s, (n - m) / 2**20) for (s, m), (t, n) in zip(before, after, strict=True)]
            found[f"{name}: processor of the server, s"] = round(took[0][0], 2)
            found[f"{name}: processor of the child, s"] = round(sum(one[0] for one in took[1:]), 2)
            found[f"{name}: memory of the server, MiB"] = round(took[0][1])
            found[f"{name}: memory of the child, MiB"] = round(max(one[1] for one in took[1:]))
    show(found, as_json=arguments.json)


if __name__ == "__main__":
    main()

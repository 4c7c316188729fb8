"""How long `diffcl predict` takes for one small scan, from the start of its process to the file of the label.

    python benchmarks/start.py
    python benchmarks/start.py --beside OTHER

OTHER is another checkout, as of an earlier version: both take turns, so that what else the machine does troubles both.
Processor time, which such work troubles less, is told beside the time of a clock. The first run of each is not
counted: it may compile kernels and read files that are on the disk only. `--imports` names the packages whose import
takes longest, as `python -X importtime` counts them, all that they import in turn included.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from processor import processor
from report import show

from diffcl.resources import samples_folder

HERE = Path(__file__).resolve().parents[1]
LONGEST = 8
"""How many imports are told."""


def started(checkout: Path, command: Sequence[str]) -> tuple[float, float]:
    """Run Python with the diffcl of a checkout; seconds by the clock and of the processor."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=checkout,  # where `-m` looks first
        env={**os.environ, "PYTHONPATH": str(checkout)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(said)
    return time.perf_counter() - begin, used.ru_utime + used.ru_stime


def imports(command: Sequence[str]) -> list[str]:
    """The packages whose import takes longest, with their seconds."""
    said = subprocess.run(
        [sys.executable, "-X", "importtime", *command],
        cwd=HERE,
        env={**os.environ, "PYTHONPATH": str(HERE)},
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    lines = [
        line.partition(":")[2].split("|") for line in said.splitlines() if line.startswith("import time:")
    ]
    taken = {name.strip(): int(total) for _, total, name in lines if total.strip().isdigit()}
    whole = sorted((name for name in taken if "." not in name), key=taken.__getitem__, reverse=True)
    return [f"{name} {taken[name] / 1e6:.2f}" for name in whole[:LONGEST]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="hippocampus", help="name of a published model")
    parser.add_argument("--scan", type=Path, help="by default the first sample scan")
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each checkout")
    parser.add_argument("--beside", type=Path, help="another checkout of diffcl")
    parser.add_argument(
        "--imports", action="store_true", help="name the packages that take longest to import"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    arguments = parser.parse_args()
    scan = arguments.scan or min((samples_folder() / "images").glob("*.nii.gz"))
    places = {"this": HERE} | ({"other": arguments.beside.resolve()} if arguments.beside else {})
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in places}
    with tempfile.TemporaryDirectory() as folder:
        label = Path(folder) / "label.nii.gz"
        command = [
            "-m",
            "diffcl",
            "predict",
            str(scan.resolve()),
            "--model",
            arguments.model,
            "--out",
            str(label),
        ]
        for run in range(arguments.runs + 1):
            for name, checkout in places.items():
                seconds = started(checkout, command)
                if run:
                    taken[name].append(seconds)
        found: dict[str, object] = {"processor": processor(), "runs": arguments.runs}
        for name, runs in taken.items():
            for what, values in zip(("seconds", "processor_seconds"), zip(*runs, strict=True), strict=True):
                found[f"{name}_{what}"] = round(statistics.median(values), 2)
        if arguments.beside:
            pairs = zip(taken["this"], taken["other"], strict=True)
            found["processor_time_over_the_other"] = round(
                statistics.median(one[1] / other[1] for one, other in pairs), 2
            )
        if arguments.imports:
            found["imports"] = ", ".join(imports(command))
    show(found, as_json=arguments.json)


if __name__ == "__main__":
    main()

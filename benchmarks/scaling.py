"""How time and memory grow: predictions of ever larger scans, the scan over its length, concurrent requests.

    python benchmarks/scaling.py --model left_atrium --json
    python benchmarks/scaling.py --sides 64 128 --out docs

Every prediction runs in a process of its own, and what the operating system counts as its most memory is the figure: it
has all of the program in it. Scans are cubes of noise on the model's grid. The model is asked by as many clients at
once as stated, each for a label of another scan; what counts is labels a second, and how long the slowest tenth of them
takes at least. It is the Predictor that they ask, as the threads of the server do, without HTTP between.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from matplotlib.figure import Figure
from process_memory import memory
from processor import processor

from diffcl.files import replace_file
from diffcl.geometry import Geometry
from diffcl.inference import Predictor
from diffcl.inference.engine import EngineChoice
from diffcl.io import Scan
from diffcl.models import ModelRegistry
from diffcl.networks.selective_scan import selective_scan
from diffcl.resources import models_folder

SIDES = (64, 128, 256, 512)
LENGTHS = (1000, 4000, 16000, 64000, 256000)
CLIENTS = (1, 2, 4, 8)
AXES = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def predict(model: str, side: int, engine: EngineChoice) -> dict[str, float]:
    """Seconds and most memory of one prediction in this process."""
    loaded = ModelRegistry(Path("models"), models_folder()).load(model)
    values = np.random.default_rng(0).normal(size=(side,) * 3).astype(np.float32)
    grid = Geometry((side,) * 3, loaded.info.recipe.grid.spacing, (0.0, 0.0, 0.0), AXES)
    scan = Scan(grid.place(values), "noise", Path("noise"))
    del values
    predictor = Predictor(loaded, engine)
    start = time.perf_counter()
    predictor(scan)
    return {"seconds": round(time.perf_counter() - start, 2), "gib": round(memory("VmHWM") / 2**30, 2)}


def in_a_process(model: str, side: int, engine: EngineChoice) -> dict[str, float]:
    """`predict` in a process of its own."""
    command = [sys.executable, __file__, "--model", model, "--engine", engine, "--one", str(side)]
    found: dict[str, float] = json.loads(subprocess.check_output(command, text=True).splitlines()[-1])
    return found


def scan_seconds(length: int) -> float:
    """Seconds of the selective scan, the least of five runs, for 64 channels."""
    random = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random)

    u, delta, a = draw(1, 64, length), draw(1, 64, length), -draw(64, 16).exp()
    b, c = draw(1, 16, length), draw(1, 16, length)
    times = []
    with torch.inference_mode():
        for _ in range(6):
            start = time.perf_counter()
            selective_scan(u, delta, a, b, c, delta_softplus=True)
            times.append(time.perf_counter() - start)
    return min(times[1:])


def answers(model: str, clients: int, engine: EngineChoice, requests: int = 16) -> dict[str, float]:
    """Labels a second of one Predictor that so many clients ask, as the server's threads do, and the slowest ones."""
    predictor = Predictor(ModelRegistry(Path("models"), models_folder()).load(model), engine)
    recipe = predictor.model.info.recipe
    grid = Geometry(recipe.grid.crop, recipe.grid.spacing, (0.0, 0.0, 0.0), AXES)
    scans = [
        Scan(
            grid.place(np.random.default_rng(n).normal(size=grid.size).astype(np.float32)), str(n), Path("n")
        )
        for n in range(requests)
    ]
    predictor(scans[0])

    def seconds(scan: Scan) -> float:
        asked = time.perf_counter()
        predictor(scan)
        return time.perf_counter() - asked

    with ThreadPoolExecutor(clients) as threads:
        start = time.perf_counter()
        taken = list(threads.map(seconds, scans))
        whole = time.perf_counter() - start
    return {
        "a_second": round(requests / whole, 2),
        "slowest_tenth_seconds": round(float(np.quantile(taken, 0.9)), 2),
    }


def slope(sizes: list[float], values: list[float]) -> float:
    """Exponent of the power law through the last two points."""
    return float(np.log(values[-1] / values[-2]) / np.log(sizes[-1] / sizes[-2]))


def draw(result: dict[str, Any], picture: Path) -> None:
    """Four log-log plots with their slopes; clients on plain axes."""
    figure = Figure(figsize=(11, 6), layout="constrained")
    axes = figure.subplots(2, 2).flat
    predictions = {int(side) ** 3: one for side, one in result["predict"].items()}
    lengths = {int(length): seconds for length, seconds in result["scan_seconds"].items()}
    for plot, (title, points, unit) in zip(
        axes,
        [
            ("predict, time", {n: one["seconds"] for n, one in predictions.items()}, "seconds"),
            ("predict, peak memory", {n: one["gib"] for n, one in predictions.items()}, "GiB"),
            ("selective scan, time", lengths, "seconds"),
        ],
        strict=False,
    ):
        sizes, values = list(points), list(points.values())
        plot.loglog(sizes, values, "o-")
        plot.set(title=f"{title}: slope {slope(sizes, values):.2f} at the end", ylabel=unit)
        plot.set_xlabel("tokens" if "scan" in title else "voxels")
    last = figure.axes[3]
    rates = {int(clients): one["a_second"] for clients, one in result["answers"].items()}
    last.plot(list(rates), list(rates.values()), "o-")
    last.set(
        title="clients at once",
        xlabel="clients",
        ylabel="labels a second",
        ylim=(0, 1.1 * max(rates.values())),
    )
    for plot in figure.axes:
        plot.spines[["top", "right"]].set_visible(False)
    with replace_file(picture) as temporary:
        figure.savefig(temporary, dpi=110)


def main() -> None:
    """Measure, draw and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="left_atrium")
    parser.add_argument("--sides", nargs="+", type=int, default=list(SIDES), help="voxels along each axis")
    parser.add_argument(
        "--engine", choices=get_args(EngineChoice), default="auto", help="what computes (auto)"
    )
    parser.add_argument("--out", type=Path, help="folder for scaling.png")
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(predict(options.model, options.one, options.engine)))
        return
    result: dict[str, Any] = {
        "model": options.model,
        "processor": processor(),
        "engine": options.engine,
        "predict": {side: in_a_process(options.model, side, options.engine) for side in options.sides},
        "scan_seconds": {length: round(scan_seconds(length), 5) for length in LENGTHS},
        "answers": {n: answers(options.model, n, options.engine) for n in CLIENTS},
    }
    largest = result["predict"].get(512)
    result["predict_512_peak_gib"] = largest and largest["gib"]
    if options.out:
        draw(result, options.out / "scaling.png")
    for name, value in result.items():
        print(name, value)
    if options.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()

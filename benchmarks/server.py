"""How long a running server takes: its start, the first request, a scan with its uncertainty, its memory.

    python benchmarks/server.py --model hippocampus
    python benchmarks/server.py --model hippocampus --registered 1000
    python benchmarks/server.py --model left_atrium --hearts --scans 8

Synthetic scans of the size of a hippocampus crop, or with --hearts of 190x140x88 voxels as those of the left atrium,
go through a server of their own, each once, so that nothing is answered from memory; then as many others to CS alone.
A scan counts with both of its requests, label and uncertainty map, by HTTP from this process. Meanwhile another client
asks for `/info/` and for the next scan, ten times a second, and the server scores its scans. Registered scans are
further small ones, which are only there.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import requests
import SimpleITK as sitk
from inference import made_scan
from process_memory import memory
from processor import processor

from diffcl.inference.ensemble import Networks
from diffcl.phantom import make_phantom
from diffcl.resources import app_folder, models_folder


@dataclass
class Measured:
    """What a run of the benchmark found.

    Attributes:
        model: Name and version of the model.
        start_seconds: From the command to the first answer to `/info/`.
        first_seconds: The first scan, label and uncertainty.
        median_seconds: The median of all later scans.
        slowest_seconds: The slowest of them.
        label_seconds: The median of the label's request alone.
        cs_seconds: The median of label and uncertainty by CS alone.
        info_seconds: The median of `/info/` meanwhile.
        next_seconds: The median of the next scan by the default strategy meanwhile.
        next_slowest_seconds: The slowest of them.
        registered: Further scans in the studies.
        peak_mib: Most memory that the server held.
        peak_above_idle_mib: The same, less what it held before the first request.
        scans: How many were timed after the first.
        cores: Processors of the machine.
        load: Other work on the machine when it began: the load average of the last minute.
        processor: Its name.
    """

    model: str
    start_seconds: float
    first_seconds: float
    median_seconds: float
    slowest_seconds: float
    label_seconds: float
    cs_seconds: float
    info_seconds: float
    next_seconds: float
    next_slowest_seconds: float
    registered: int
    peak_mib: int
    peak_above_idle_mib: int
    scans: int
    cores: int
    load: float
    processor: str


@contextmanager
def server(studies: Path, store: Path, model: str) -> Iterator[tuple[str, psutil.Process, float]]:
    """A server on its own port: address, process, and seconds until it answered."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "monailabel.main", "start_server", "--app", str(app_folder()), "--studies", str(studies),
        "--host", "127.0.0.1", "--port", str(port), "--uvicorn_app", "lib.server.application:app",
        "--conf", "store", str(store), "--conf", "models", model,
    ]  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    with (studies / "server.log").open("wb") as log:
        begin = time.perf_counter()
        process = subprocess.Popen(command, cwd=app_folder(), stdout=log, stderr=subprocess.STDOUT)
    try:
        while not answers(url):
            if process.poll() is not None:
                sys.exit((studies / "server.log").read_text())
            time.sleep(0.05)
        yield url, psutil.Process(process.pid), time.perf_counter() - begin
    finally:
        process.terminate()
        process.wait()


def answers(url: str) -> bool:
    """Whether a server answers."""
    try:
        return requests.get(f"{url}/info/", timeout=60).ok
    except requests.ConnectionError:
        return False


@contextmanager
def another_client(url: str) -> Iterator[tuple[list[float], list[float]]]:
    """Somebody who asks for `/info/` and the next scan meanwhile; how long each answer took."""
    info: list[float] = []
    following: list[float] = []
    done = threading.Event()

    def keep_asking() -> None:
        while not done.wait(0.1):
            begin = time.perf_counter()
            requests.get(f"{url}/info/", timeout=60)
            info.append(time.perf_counter() - begin)
            begin = time.perf_counter()
            requests.post(f"{url}/activelearning/uncertain_diverse", json={"client_id": "ann"}, timeout=60)
            following.append(time.perf_counter() - begin)

    thread = threading.Thread(target=keep_asking)
    thread.start()
    try:
        yield info, following
    finally:
        done.set()
        thread.join()


def predict_probabilities(
    url: str, model: str, image: str, networks: Networks = "ensemble"
) -> tuple[float, int]:
    """Seconds of an inference request as Slicer sends it, and the version that answered."""
    params = json.dumps({"networks": networks, "result_extension": ".nrrd", "result_dtype": "uint8"})
    begin = time.perf_counter()
    answer = requests.post(
        f"{url}/infer/{model}", params={"image": image}, files={"params": (None, params)}, timeout=600
    )
    seconds = time.perf_counter() - begin
    if not answer.ok:
        sys.exit(answer.json()["detail"])
    version = answer.content.split(b'"version": ', 1)[1].split(b",", 1)[0]
    return seconds, int(version)


def register(studies: Path, count: int) -> None:
    """Put small scans into the studies."""
    small = make_phantom(0).image[:24, :24, :24]
    for number in range(count):
        sitk.WriteImage(small, studies / f"small{number:04}.nii.gz")


def write_scan(path: Path, number: int, *, heart: bool) -> None:
    """A scan that no other number has."""
    if heart:
        made_scan(path, number)
    else:
        sitk.WriteImage(make_phantom(number).image, path)


def measure(model: str, store: Path, scans: int, registered: int, *, hearts: bool) -> Measured:
    """Start a server and time it."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        studies = Path(folder)
        for number in range(2 * scans + 1):
            write_scan(studies / f"scan{number:02}.nii.gz", number, heart=hearts)
        register(studies, registered)
        with server(studies, store, model) as (url, process, start_seconds):
            label, both, cs, version = [], [], [], 0
            idle = memory("VmRSS", process.pid)
            with another_client(url) as (info, following):
                for number in range(scans + 1):
                    seconds, version = predict_probabilities(url, model, f"scan{number:02}")
                    label.append(seconds)
                    both.append(
                        seconds + predict_probabilities(url, f"{model}_uncertainty", f"scan{number:02}")[0]
                    )
                for number in range(scans + 1, 2 * scans + 1):
                    tasks = (model, f"{model}_uncertainty")
                    cs.append(
                        sum(predict_probabilities(url, task, f"scan{number:02}", "cs")[0] for task in tasks)
                    )
            peak = memory("VmHWM", process.pid)
    return Measured(
        model=f"{model} {version}",
        start_seconds=round(start_seconds, 1),
        first_seconds=round(both[0], 2),
        median_seconds=round(statistics.median(both[1:]), 2),
        slowest_seconds=round(max(both[1:]), 2),
        label_seconds=round(statistics.median(label[1:]), 2),
        cs_seconds=round(statistics.median(cs), 2),
        info_seconds=round(statistics.median(info), 3),
        next_seconds=round(statistics.median(following), 3),
        next_slowest_seconds=round(max(following), 3),
        registered=registered,
        peak_mib=peak // 2**20,
        peak_above_idle_mib=(peak - idle) // 2**20,
        scans=scans,
        cores=os.cpu_count() or 1,
        load=round(load, 1),
        processor=processor(),
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="hippocampus", help="name of a published model")
    parser.add_argument("--store", type=Path, default=models_folder(), help="folder of the models")
    parser.add_argument("--scans", type=int, default=20, help="scans timed after the first")
    parser.add_argument("--hearts", action="store_true", help="scans of 190x140x88 voxels")
    parser.add_argument("--registered", type=int, default=0, help="further scans in the studies")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    store = arguments.store.resolve()
    found = asdict(
        measure(arguments.model, store, arguments.scans, arguments.registered, hearts=arguments.hearts)
    )
    if arguments.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name.replace('_', ' '):16} {value}")


if __name__ == "__main__":
    main()

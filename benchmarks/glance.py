"""How long the pages of a large project take, how large they are, and what they hold in memory.

    PYTHONPATH=tests/support python benchmarks/glance.py --json

A made-up project of 1,000 scans, 5,000 labels and 30 versions is read and looked at: the first time, again, and after a
label was submitted. Times are those of a processor, but for the last one. Requests go through the application without a
network. Memory is what the process holds more than before the project was looked at.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from pages import application, ask, large_project
from process_memory import memory
from report import show
from study_files import keep_versions, record

PAGES = {
    "project": "/",
    "list of scans": "/study/scans",
    "quality": "/study/quality",
    "training": "/study/training",
    "versions": "/study/versions",
    "history of a scan": "/study/scan?image=scan-0001",
}

CHARTS = ("days.svg?of=", "proposals.svg?of=", "versions.svg?of=organ", "learning.svg?of=organ")


def timed(app: Any, path: str, *, again: bool = True) -> tuple[float, int]:
    """Seconds of a processor and bytes of an answer, once everything has been read."""
    if again:
        ask(app, path)
    begin = time.process_time()
    answer = ask(app, path)
    return round(time.process_time() - begin, 4), len(answer.content)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scans", type=int, default=1000)
    parser.add_argument("--labels", type=int, default=5000)
    parser.add_argument("--versions", type=int, default=30)
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = large_project(Path(folder), arguments.scans, arguments.labels, arguments.versions)
        app = application(project)
        before = memory("VmRSS")
        begin = time.process_time()
        ask(app, "/")
        found: dict[str, Any] = {"read for the first time, s": round(time.process_time() - begin, 3)}
        for name, path in PAGES.items():
            found[f"{name}, s"], found[f"{name}, bytes"] = timed(app, path)
        ask(app, "/study/chart/days.svg?theme=dark")  # the first one waits for matplotlib's letters
        for chart in CHARTS:
            found[f"{chart.partition('.')[0]} chart, s"], found[f"{chart.partition('.')[0]} chart, bytes"] = (
                timed(app, f"/study/chart/{chart}&theme=light", again=False)
            )
        keep_versions(Path(folder) / "studies", "scan-0000", [record("2026-10-01", "eve")])
        begin = time.perf_counter()
        while f"{arguments.scans // 2 + 1} scans of" not in ask(app, "/").text:
            time.sleep(0.05)
        found["a new label is seen after, s"] = round(time.perf_counter() - begin, 3)
        found["memory, MiB"] = round((memory("VmRSS") - before) / 2**20, 1)
    show(found, as_json=arguments.json)


if __name__ == "__main__":
    main()

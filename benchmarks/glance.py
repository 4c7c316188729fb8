"""How long the pages of a large project take, how large they are, and what they hold in memory.

    PYTHONPATH=tests/support python benchmarks/glance.py --json

A made-up project of 1,000 scans, 5,000 labels and 30 versions is read and looked at: the first time, again, and after
labels were submitted while the first page was open, which asks again as often as it says. Times are those of a
processor, but for the last two. Requests go through the application without a network. Memory is what the process holds
more than before the project was looked at.
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

LABELS = 8
"""How many labels are submitted while a page is open."""

CHARTS = ("days.svg?of=", "proposals.svg?of=", "versions.svg?of=organ", "learning.svg?of=organ")


def timed(app: Any, path: str, *, again: bool = True) -> tuple[float, int]:
    """Seconds of a processor and bytes of an answer, once everything has been read."""
    if again:
        ask(app, path)
    begin = time.process_time()
    answer = ask(app, path)
    return round(time.process_time() - begin, 4), len(answer.content)


def seconds_until_seen(app: Any, studies: Path, labelled: int, count: int) -> float:
    """Seconds until an open page shows a label that was submitted at some moment between two of its questions.

    Args:
        app: The pages.
        studies: Of which every other scan had a label.
        labelled: How many had.
        count: How many of the others have one by now.
    """
    text = ask(app, "/").text
    time.sleep(live(text) * count / LABELS)
    keep_versions(studies, f"scan-{2 * count:04}", [record("2026-10-01", "eve")])
    begin = time.perf_counter()
    time.sleep(live(text) * (1 - count / LABELS))
    while f"{labelled + count + 1} scans of" not in (text := ask(app, "/").text):
        time.sleep(live(text))
    return time.perf_counter() - begin


def live(text: str) -> float:
    """Seconds after which a page asks again."""
    return float(text.partition('data-live="')[2].partition('"')[0])


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
        seen = [
            seconds_until_seen(app, Path(folder) / "studies", arguments.scans // 2, count)
            for count in range(LABELS)
        ]
        found["a label is seen after, s"] = round(sorted(seen)[LABELS // 2], 3)
        found["the last one of them after, s"] = round(max(seen), 3)
        found["memory, MiB"] = round((memory("VmRSS") - before) / 2**20, 1)
    show(found, as_json=arguments.json)


if __name__ == "__main__":
    main()

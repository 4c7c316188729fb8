"""Numbers for those who run a server, in the text form of Prometheus.

Source:
    Prometheus exposition formats, text-based format 0.0.4.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from diffcl.web.answers import route_path

CONTENT_TYPE: Final = "text/plain; version=0.0.4"

HELP: Final = {
    "diffcl_requests_total": "Requests that were answered.",
    "diffcl_request_seconds_total": "Seconds that answering them took.",
    "diffcl_requests_open": "Requests that are being answered.",
    "diffcl_inferences_waiting": "Inferences that wait or run.",
    "diffcl_tasks": "Trainings and batches since the start, by their state.",
    "diffcl_disk_free_bytes": "Bytes that are free.",
    "diffcl_disk_size_bytes": "Bytes of the disk.",
    "diffcl_scans": "Scans of the studies.",
    "diffcl_scans_labelled": "Scans with a final label.",
    "diffcl_memory_bytes": "Memory of the server's process.",
    "diffcl_open_files": "Open files and connections of the server's process.",
    "diffcl_info": "Its version.",
}


@dataclass(frozen=True)
class Sample:
    """One number.

    Attributes:
        name: One of `HELP`.
        kind: `counter` or `gauge`.
        value: The number.
        labels: What tells it from others of its name.
    """

    name: str
    kind: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


class Metrics:
    """What was counted of requests by `Counted`.

    Attributes:
        kinds: First parts of paths that are counted apart.
        open: How many are being answered.
        answered: How many were, by method, kind and status.
        seconds: How long that took, by method and kind.
    """

    def __init__(self, kinds: Iterable[str]) -> None:
        self.kinds = frozenset(kinds)
        self.open = 0
        self.answered: dict[tuple[str, str, int], int] = defaultdict(int)
        self.seconds: dict[tuple[str, str], float] = defaultdict(float)

    def samples(self) -> list[Sample]:
        """What was counted, and what the process takes."""
        found = [
            Sample(
                "diffcl_requests_total",
                "counter",
                number,
                {"method": method, "kind": kind, "status": str(status)},
            )
            for (method, kind, status), number in sorted(self.answered.items())
        ]
        found += [
            Sample("diffcl_request_seconds_total", "counter", seconds, {"method": method, "kind": kind})
            for (method, kind), seconds in sorted(self.seconds.items())
        ]
        found.append(Sample("diffcl_requests_open", "gauge", self.open))
        status, files = Path("/proc/self/status"), Path("/proc/self/fd")
        if status.is_file():  # on Linux
            line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
            found.append(Sample("diffcl_memory_bytes", "gauge", int(line.split()[1]) * 1024))
            found.append(Sample("diffcl_open_files", "gauge", sum(1 for _ in files.iterdir())))
        return found


class Counted:
    """An application whose requests are counted, by the first part of their paths.

    Args:
        app: The application.
        metrics: Where they are counted.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count and hand on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        count, began, status = self._metrics, time.perf_counter(), 500
        first = route_path(scope).split("/")[1] if "/" in route_path(scope) else ""
        kind = first if first in self._metrics.kinds else "other"
        method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "PUT", "DELETE") else "other"

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        count.open += 1
        try:
            await self._app(scope, receive, watched)
        finally:
            count.open -= 1
            count.answered[method, kind, status] += 1
            count.seconds[method, kind] += time.perf_counter() - began


def prometheus_text(samples: Iterable[Sample]) -> str:
    """Samples as Prometheus reads them.

    >>> print(prometheus_text([Sample("diffcl_info", "gauge", 1, {"version": "1.0"})]), end="")
    # HELP diffcl_info Its version.
    # TYPE diffcl_info gauge
    diffcl_info{version="1.0"} 1
    """
    lines: list[str] = []
    last = ""
    for one in sorted(samples, key=lambda one: one.name):
        if one.name != last:
            lines += [f"# HELP {one.name} {HELP[one.name]}", f"# TYPE {one.name} {one.kind}"]
        last = one.name
        pairs = ",".join(f'{key}="{_escaped(value)}"' for key, value in one.labels.items())
        lines.append(f"{one.name}{{{pairs}}} {one.value:.10g}" if pairs else f"{one.name} {one.value:.10g}")
    return "".join(f"{line}\n" for line in lines)


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")

"""The state of a server for those who run it: health, numbers and log."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import HTTPException, Query
from fastapi.responses import JSONResponse, PlainTextResponse

from diffcl.version import version
from diffcl.web.log_lines import OneLine, readable_lines, tell_failures_in_one_line, without_paths
from diffcl.web.metrics import Metrics, Sample

LINES: Final = 10_000
"""Lines of a log that may be asked for."""

LEAST_BYTES = 16 << 20
"""Bytes that the disk of the studies must have free; with less the next label may be refused."""


class Operations:
    """What a server tells of itself.

    Args:
        home: Gives the folder of the server, in which its log is.
        studies: Gives the folder of the studies, or the address of their archive.
    """

    def __init__(self, home: Callable[[], str], studies: Callable[[], str]) -> None:
        self._home, self._studies = home, studies

    async def get_logs(self, lines: Annotated[int, Query(ge=1, le=LINES)] = 300) -> PlainTextResponse:
        """The end of the log, without tracebacks, paths and ids of sessions; errors have ids, by which it has more.

        Raises:
            HTTPException: 404 where there is no log.
        """
        file = Path(self._home()) / "logs" / "app.log"
        if not file.is_file():
            raise HTTPException(404, "log: there is none yet")
        with file.open(encoding="utf-8", errors="replace") as log:
            found = deque(readable_lines((line.rstrip("\n") for line in log), self._names()), lines)
        return PlainTextResponse("".join(f"{line}\n" for line in found))

    def health(self) -> JSONResponse:
        """Whether the server answers, can reach its studies and has space for labels; 503 with the reason where not.

        In a thread, for a disk of the network may keep who looks at it waiting.
        """
        why = self.unwell()
        told = {"live": True, "ready": not why, **({"detail": why} if why else {})}
        return JSONResponse(told, 503 if why else 200)

    def unwell(self) -> str:
        """Why no label can be kept; empty where one can, and for an archive, of which nobody knows before."""
        studies = self._studies()
        return "" if "://" in studies else unwell(Path(studies))

    def tell(self, text: str) -> str:
        """A sentence for a client, without paths of this machine."""
        return without_paths(text, self._names())

    def tell_task(self, answer: Any) -> Any:
        """What a client is told of a task, or of several: without paths and tracebacks in what it printed."""
        if isinstance(answer, list):
            return [self.tell_task(one) for one in answer]
        if isinstance(answer, dict) and "details" in answer:
            lines = [*answer["details"]]  # to which the thread that reads them adds at any moment
            return {**answer, "details": [*readable_lines(map(str, lines), self._names())]}
        return answer

    def samples(
        self,
        metrics: Metrics,
        waiting: int,
        tasks: Mapping[str, Iterable[str]],
        status: Mapping[str, Any],
    ) -> list[Sample]:
        """What is measured, in the words of Prometheus.

        Args:
            metrics: What was counted of requests.
            waiting: How many inferences wait or run.
            tasks: The states of all tasks of each kind.
            status: What the studies say of themselves, `total` and `completed`.
        """
        found = [*metrics.samples(), Sample("diffcl_inferences_waiting", "gauge", waiting)]
        for kind, states in tasks.items():
            counts = Counter(state.lower() for state in states)
            found += [
                Sample("diffcl_tasks", "gauge", count, {"kind": kind, "status": state})
                for state, count in sorted(counts.items())
            ]
        for name, folder in {"temporary": tempfile.gettempdir(), "studies": self._studies()}.items():
            if Path(folder).is_dir():
                usage = shutil.disk_usage(folder)
                found.append(Sample("diffcl_disk_free_bytes", "gauge", usage.free, {"folder": name}))
                found.append(Sample("diffcl_disk_size_bytes", "gauge", usage.total, {"folder": name}))
        found.append(Sample("diffcl_scans", "gauge", status["total"]))
        found.append(Sample("diffcl_scans_labelled", "gauge", status["completed"]))
        return [*found, Sample("diffcl_info", "gauge", 1, {"version": version()})]

    def _names(self) -> dict[str, str]:
        """What stands for the folders of this server in what others may read."""
        known = {str(Path.home()): "<home>", tempfile.gettempdir(): "<temporary>"}
        return {**known, self._home(): "<server>", self._studies(): "<studies>"}


def unwell(folder: Path) -> str:
    """Why no label can be kept in a folder; empty where one can."""
    if not os.access(folder, os.R_OK | os.X_OK):
        return "studies: cannot be reached"
    if not os.access(folder, os.W_OK):
        return "studies: cannot be written. What is there can be looked at"
    if shutil.disk_usage(folder).free < LEAST_BYTES:
        return f"studies: less than {LEAST_BYTES >> 20} MiB are free. What is there can be looked at"
    return ""


async def get_gpu() -> PlainTextResponse:
    """What the driver of the graphics card tells.

    Raises:
        HTTPException: 404 where there is none.
    """
    try:
        told = subprocess.run(["nvidia-smi"], capture_output=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError) as error:
        raise HTTPException(404, "gpu: there is none, or its driver does not answer") from error
    return PlainTextResponse(told.stdout.decode(errors="replace"))


def keep_lines() -> None:
    """Let nothing that a client sends forge a line of a log, and nothing that hinders the log fill it."""
    loggers = [logging.getLogger(name) for name in (None, *logging.root.manager.loggerDict)]
    for handler in {handler for one in loggers for handler in one.handlers}:
        if not isinstance(handler.formatter, OneLine):
            handler.setFormatter(OneLine(handler.formatter))
            tell_failures_in_one_line(handler)

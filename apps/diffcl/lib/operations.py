"""For those who run the server: whether it is well, what it does, its log."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import tempfile
from collections import Counter, deque
from pathlib import Path
from typing import Annotated, Any

from fastapi import HTTPException, Query
from fastapi.responses import JSONResponse, PlainTextResponse
from monailabel.config import settings
from monailabel.interfaces.utils.app import app_instance
from monailabel.utils.async_tasks.utils import tasks

from diffcl.version import version
from diffcl.web.log_lines import OneLine, shown, without_paths
from diffcl.web.metrics import Metrics, Sample

LINES = 10_000
"""Of a log, how many may be asked for."""

METHODS = ("train", "batch_infer")
"""What runs in processes of its own."""


def names() -> dict[str, str]:
    """What stands for the folders of this server in what others may read."""
    known = {str(Path.home()): "<home>", tempfile.gettempdir(): "<temporary>"}
    return {**known, settings.MONAI_LABEL_APP_DIR: "<server>", settings.MONAI_LABEL_STUDIES: "<studies>"}


async def get_logs(lines: Annotated[int, Query(ge=1, le=LINES)] = 300) -> PlainTextResponse:
    """The end of the log, without tracebacks, paths and ids of sessions; errors have ids, by which it has more.

    Raises:
        HTTPException: 404 where there is no log.
    """
    file = Path(settings.MONAI_LABEL_APP_DIR) / "logs" / "app.log"
    if not file.is_file():
        raise HTTPException(404, "log: there is none yet")
    with file.open(encoding="utf-8", errors="replace") as log:
        found = deque(shown((line.rstrip("\n") for line in log), names()), lines)
    return PlainTextResponse("".join(f"{line}\n" for line in found))


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


def tell_task(answer: Any) -> Any:
    """What a client is told of a task, or of several: without paths and tracebacks in what it printed."""
    if isinstance(answer, list):
        return [tell_task(one) for one in answer]
    if isinstance(answer, dict) and "details" in answer:
        return {**answer, "details": list(shown(map(str, answer["details"]), names()))}
    return answer


def tell(text: str) -> str:
    """A sentence for a client, without paths of this machine."""
    return without_paths(text, names())


def keep_lines() -> None:
    """Let nothing that a client sends forge a line of a log, and MONAI Label write down no params and paths."""
    loggers = [logging.getLogger(name) for name in (None, *logging.root.manager.loggerDict)]
    for handler in {handler for one in loggers for handler in one.handlers}:
        if not isinstance(handler.formatter, OneLine):
            handler.setFormatter(OneLine(handler.formatter))
    logging.getLogger("monailabel").setLevel(logging.WARNING)


async def health() -> JSONResponse:
    """Whether the server answers and can reach its studies; 503 where it cannot."""
    studies = settings.MONAI_LABEL_STUDIES
    ready = "://" in studies or os.access(studies, os.R_OK | os.W_OK | os.X_OK)
    return JSONResponse({"live": True, "ready": ready}, 200 if ready else 503)


def samples(metrics: Metrics, waiting: int) -> list[Sample]:
    """What is measured, in the words of Prometheus.

    Args:
        metrics: What was counted of requests.
        waiting: How many inferences wait or run.
    """
    found = [*metrics.samples(), Sample("diffcl_inferences_waiting", "gauge", waiting)]
    for method in METHODS:
        counts = Counter(str(task["status"]).lower() for task in tasks(method))
        found += [
            Sample("diffcl_tasks", "gauge", count, {"kind": method, "status": status})
            for status, count in sorted(counts.items())
        ]
    folders = {"temporary": tempfile.gettempdir(), "studies": settings.MONAI_LABEL_STUDIES}
    for name, folder in folders.items():
        if Path(folder).is_dir():
            usage = shutil.disk_usage(folder)
            found.append(Sample("diffcl_disk_free_bytes", "gauge", usage.free, {"folder": name}))
            found.append(Sample("diffcl_disk_size_bytes", "gauge", usage.total, {"folder": name}))
    status: dict[str, Any] = app_instance().datastore().status()
    found.append(Sample("diffcl_scans", "gauge", status["total"]))
    found.append(Sample("diffcl_scans_labelled", "gauge", status["completed"]))
    return [*found, Sample("diffcl_info", "gauge", 1, {"version": version()})]

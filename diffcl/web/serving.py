"""uvicorn with bounds for connections and heads of requests."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from uvicorn import run as run_uvicorn

from diffcl.web.connections import BoundedProtocol
from diffcl.web.limits import LONGEST_HEAD
from diffcl.web.temporary_folder import use_own_temporary_folder


def log_settings(log_config: str) -> dict[str, Any]:
    """The settings of the log, of which MONAI Label leaves a file in the temporary folder at every start."""
    file = Path(log_config)
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if file.parent == Path(gettempdir()):
        file.unlink()
    return content


def prepare_process() -> None:
    """Let what this process and its children write be its user's alone, and let it open as many files as it may.

    Temporary files go into a folder of its own.
    """
    os.umask(0o077)
    use_own_temporary_folder()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def serve(app: str, *, log_config: str, behind_proxy: bool, **settings: Any) -> None:
    """Serve an application until the process is told to end.

    Args:
        app: Module and name of the application.
        log_config: File with the settings of the log.
        behind_proxy: Whether headers of a proxy on this machine are believed.
        settings: Further ones of uvicorn.
    """
    settings["use_colors"] = None  # the log's own settings have no place for it
    run_uvicorn(
        app,
        log_config=log_settings(log_config),
        http=BoundedProtocol,
        ws="none",
        proxy_headers=behind_proxy,
        server_header=False,
        h11_max_incomplete_event_size=LONGEST_HEAD,
        **settings,
    )

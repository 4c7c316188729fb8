"""`python -m lib.server.start start_server ...`: MONAI Label's own command, on a server with bounds for connections."""

from __future__ import annotations

import json
import os
import resource
import sys
from functools import partial
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import uvicorn
from monailabel.main import Main

from diffcl.web.connections import BoundedProtocol
from diffcl.web.limits import LONGEST_HEAD

BEHIND_PROXY = "behind_proxy"
"""The setting by which headers of a proxy on this machine are believed."""


def log_settings(log_config: str) -> dict[str, Any]:
    """The settings of the log, of which MONAI Label leaves a file in the temporary folder at every start."""
    file = Path(log_config)
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if file.parent == Path(gettempdir()):
        file.unlink()
    return content


def main() -> None:
    """Start the server; whatever it and its children write is its user's alone."""
    os.umask(0o077)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    serve = partial(
        uvicorn.run,
        http=BoundedProtocol,
        ws="none",
        proxy_headers=BEHIND_PROXY in sys.argv,
        server_header=False,
        h11_max_incomplete_event_size=LONGEST_HEAD,
    )

    def run(app: str, *, log_config: str, **settings: Any) -> None:
        settings["use_colors"] = None  # the log's own settings have no place for it
        serve(app, log_config=log_settings(log_config), **settings)

    uvicorn.run = run  # type: ignore[assignment]
    Main().run()


if __name__ == "__main__":
    main()

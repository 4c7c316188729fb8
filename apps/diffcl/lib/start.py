"""`python -m lib.start start_server ...`: MONAI Label's own command, on a server with bounds for connections."""

from __future__ import annotations

import os
import resource
import sys
from functools import partial

import uvicorn
from monailabel.main import Main

from diffcl.web.connections import BoundedProtocol
from diffcl.web.limits import LONGEST_HEAD

BEHIND_PROXY = "behind_proxy"
"""The setting by which headers of a proxy on this machine are believed."""


def main() -> None:
    """Start the server; whatever it and its children write is its user's alone."""
    os.umask(0o077)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    uvicorn.run = partial(
        uvicorn.run,
        http=BoundedProtocol,
        ws="none",
        proxy_headers=BEHIND_PROXY in sys.argv,
        server_header=False,
        h11_max_incomplete_event_size=LONGEST_HEAD,
    )
    Main().run()


if __name__ == "__main__":
    main()

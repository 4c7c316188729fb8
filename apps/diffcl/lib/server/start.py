"""`python -m lib.server.start start_server ...`: MONAI Label's own command, on a server with bounds for connections."""

from __future__ import annotations

import sys
from functools import partial

import uvicorn

from diffcl.web.serving import prepare_process, serve

BEHIND_PROXY = "behind_proxy"
"""The setting by which headers of a proxy on this machine are believed."""

UNUSED = ("ignite", "matplotlib.pyplot", "mlflow", "pandas", "scipy.signal", "sklearn", "torchvision")
"""What MONAI imports wherever it is installed and nothing of the server uses; docs/performance.md has what it takes."""


def main() -> None:
    """Start the server."""
    prepare_process()
    sys.modules.update(dict.fromkeys(UNUSED))  # type: ignore[arg-type]  # what is None is not installed, says Python
    from monailabel.main import Main

    uvicorn.run = partial(serve, behind_proxy=BEHIND_PROXY in sys.argv)
    Main().run()


if __name__ == "__main__":
    main()

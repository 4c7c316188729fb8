"""MONAI Label's own server, as `monailabel start_server` starts it, and the protection that is put around it."""

from __future__ import annotations

import socket
import sys
from collections.abc import Mapping

from monailabel.config import settings

from diffcl.errors import UsageError
from diffcl.web.application import PAGES
from diffcl.web.headers import HEADERS, SecurityHeaders
from diffcl.web.limits import UPLOAD, Limits
from diffcl.web.operations import keep_lines
from diffcl.web.options import comma_separated
from diffcl.web.origins import SameOrigin

POLICY = "content-security-policy"
"""The header that is left out: the pages of MONAI Label's own server need what it forbids."""


def protect(conf: Mapping[str, str]) -> None:
    """Refuse foreign pages, foreign hosts and what is too large, if MONAI Label's own application is the one that runs.

    It runs already when the app is made, so the layers go around those that it has.

    Args:
        conf: The app's settings, of which `allow_host` and `max_upload` count.

    Raises:
        UsageError: If people are to log in, of which that server knows nothing.
    """
    application = getattr(sys.modules.get("monailabel.app"), "app", None)
    if application is None or application.middleware_stack is None:
        return
    if conf.get("users"):
        raise UsageError("--conf users", "nobody is asked to log in by MONAI Label's own server",
                         "Start diffcl serve --users FILE")  # fmt: skip
    keep_lines()
    names = comma_separated(conf.get("allow_host", ""))
    origins = [str(origin) for origin in settings.MONAI_LABEL_CORS_ORIGINS]
    limited = Limits(application.middleware_stack, int(conf.get("max_upload", UPLOAD)))
    same = SameOrigin(
        limited,
        [*names, socket.gethostname(), socket.getfqdn()],
        origins,
        PAGES,
        "--conf allow_host NAME",
    )
    headers = {name: value for name, value in HEADERS.items() if name != POLICY}
    application.middleware_stack = SecurityHeaders(same, headers)

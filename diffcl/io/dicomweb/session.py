"""The connections to a DICOMweb archive: credentials, and time limits that nobody can forget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import requests
from requests.adapters import HTTPAdapter

CONNECT_SECONDS: Final = 5.0
"""How long a connection may take."""

READ_SECONDS: Final = 30.0
"""How long an archive may send nothing."""


@dataclass(frozen=True)
class Credentials:
    """What an archive asks for: a name with a password, a bearer token, or nothing. Not shown by `repr`."""

    user: str = ""
    password: str = ""
    token: str = ""

    def __repr__(self) -> str:
        return "Credentials(...)"


def open_session(scheme: str, credentials: Credentials) -> requests.Session:
    """A session with time limits whose requests carry the credentials.

    Args:
        scheme: `http` or `https`, the only one that it speaks with limits.
        credentials: What the archive asks for.
    """
    session = requests.Session()
    session.mount(f"{scheme}://", _WithTimeouts())
    if credentials.token:
        session.auth = _Bearer(credentials.token)
    elif credentials.user:
        session.auth = (credentials.user, credentials.password)
    return session


class _WithTimeouts(HTTPAdapter):
    """What sends requests, with limits that nobody can forget, and wildcards as every archive understands them."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a request; `requests` calls it."""
        path, mark, query = (request.url or "").partition("?")
        request.url = path + mark + query.replace("%2A", "*").replace("%3F", "?")  # Orthanc decodes neither
        return super().send(request, *args, **{**kwargs, "timeout": (CONNECT_SECONDS, READ_SECONDS)})


class _Bearer(requests.auth.AuthBase):
    """A token, which a password from elsewhere does not replace."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request

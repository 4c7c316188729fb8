"""Why a request to a DICOMweb archive failed, in words, and whether it may be over soon."""

from __future__ import annotations

from typing import Final

import requests

from diffcl.errors import ArchiveDownError, ArchiveError, GoneError

BUSY: Final = (408, 425, 429, 500, 502, 503, 504)
"""HTTP states that may be over soon."""


class NothingError(Exception):
    """An answer without an object."""


def failure_of(error: Exception, where: str, wanted: str) -> ArchiveError:
    """What went wrong, for people.

    Args:
        error: Of the request or of the reading of its answer.
        where: Names the archive.
        wanted: What was asked for; `this` where it was no single thing.

    Returns:
        An `ArchiveDownError` where it may be over soon.
    """
    if isinstance(error, NothingError):
        return _gone(where, wanted)
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return _refusal(error.response.status_code, where, wanted)
    if isinstance(error, requests.exceptions.SSLError):
        return ArchiveError(where, "has a certificate that is not trusted",
                            "Name its authority in REQUESTS_CA_BUNDLE")  # fmt: skip
    if isinstance(error, requests.Timeout):
        return ArchiveDownError(where, "is too slow to answer", "Try again later")
    if isinstance(error, requests.ConnectionError | requests.exceptions.ChunkedEncodingError):
        return ArchiveDownError(where, "does not answer", "Is it running, and its address right?")
    return ArchiveError(where, "answers, but not as a DICOMweb archive does",
                        "Check its address, for example http://HOST:8042/dicom-web")  # fmt: skip


def _refusal(state: int, where: str, wanted: str) -> ArchiveError:
    if state in BUSY:
        return ArchiveDownError(where, f"is busy or broken (HTTP {state})", "Try again later")
    if state in (401, 403):
        return ArchiveError(where, f"refuses the credentials (HTTP {state})",
                            "Set its user and password, or its token, and start again")  # fmt: skip
    if state in (404, 410):
        return _gone(where, wanted)
    return ArchiveError(where, f"refuses {wanted} (HTTP {state})", "Its own log says why")


def _gone(where: str, wanted: str) -> ArchiveError:
    if wanted == "this":
        return ArchiveError(where, "has no DICOMweb service at this address",
                            "Check its path, for example /dicom-web")  # fmt: skip
    return GoneError(where, f"{wanted} is not there any more", "Ask for another")

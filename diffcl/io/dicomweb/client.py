"""The client of a DICOMweb archive: which series it has, a series as files, an object stored.

Source:
    DICOM PS3.18: QIDO-RS (section 10.6), WADO-RS (10.4), STOW-RS (10.5).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import unquote, urlsplit

import pydicom
import requests
from dicomweb_client import DICOMwebClient
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from requests.adapters import HTTPAdapter

from diffcl.errors import ArchiveDownError, ArchiveError, GoneError, OutputError, UsageError
from diffcl.files import not_written
from diffcl.io.dicom.damage import DAMAGED, OddValueError, is_damage, number

Answer = TypeVar("Answer")

CONNECT_SECONDS: Final = 5.0
"""How long a connection may take."""

READ_SECONDS: Final = 30.0
"""How long an archive may send nothing."""

PATIENCE_SECONDS: Final = 8.0
"""No new attempt begins later than this; it outlasts the restart of an archive."""

FIRST_WAIT_SECONDS: Final = 0.5
"""Pause before the second attempt; each further one is twice as long."""

BUSY: Final = (408, 425, 429, 500, 502, 503, 504)
"""HTTP states that may be over soon."""

CHUNK: Final = 8_000_000
"""Bytes read at a time."""

WHOLE: Final = 1 << 40
"""Objects are sent in one piece up to this size: one sent in chunks could not be sent again."""

SMALLEST_PAGE: Final = 100
"""No archive cuts the answer to a search shorter than this."""

ANY_SYNTAX: Final = (("application/dicom", "*"),)
"""Objects as the archive keeps them, compressed or not."""


@dataclass(frozen=True)
class Credentials:
    """What an archive asks for: a name with a password, a bearer token, or nothing. Not shown by `repr`."""

    user: str = ""
    password: str = ""
    token: str = ""

    def __repr__(self) -> str:
        return "Credentials(...)"


@dataclass(frozen=True)
class SeriesEntry:
    """A series as a search answers it, without a word about the patient.

    Attributes:
        uid: SeriesInstanceUID.
        study: StudyInstanceUID.
        modality: For example `MR`.
        images: How many objects it has; None where the archive does not say.
        date: StudyDate, `YYYYMMDD`, or empty.
        time: StudyTime, or empty.
    """

    uid: str
    study: str
    modality: str
    images: int | None
    date: str
    time: str


class Archive:
    """A DICOMweb archive.

    Whatever fails and may be over soon is tried again for some seconds. No error or log names the patient or
    the credentials. Safe in threads.

    Args:
        url: Address of the service, for example `http://127.0.0.1:8042/dicom-web`; it may hold a user's name
            and password.
        credentials: Take the place of those in the address.
        prefixes: Paths below the address for `qido`, `wado` and `stow`, where an archive has such.

    Raises:
        UsageError: If the address is none.
    """

    def __init__(
        self, url: str, credentials: Credentials | None = None, prefixes: Mapping[str, str] | None = None
    ) -> None:
        parts = urlsplit(url.strip())
        host = parts.netloc.rpartition("@")[2]
        if parts.scheme not in ("http", "https") or not host:
            raise UsageError(host or "archive", "not an address of a DICOMweb archive",
                             "Give one like http://127.0.0.1:8042/dicom-web")  # fmt: skip
        self.url = f"{parts.scheme}://{host}{parts.path.rstrip('/')}"
        self.where = f"archive {host}"
        if credentials is None or credentials == Credentials():
            credentials = Credentials(unquote(parts.username or ""), unquote(parts.password or ""))
        session = requests.Session()
        session.mount(f"{parts.scheme}://", _WithTimeouts())
        if credentials.token:
            session.auth = _Bearer(credentials.token)
        elif credentials.user:
            session.auth = (credentials.user, credentials.password)
        self._session, self._prefixes = session, dict(prefixes or {})
        qido, wado, stow = (self._prefixes.get(name) or None for name in ("qido", "wado", "stow"))
        try:
            self._client, self._sender = (
                DICOMwebClient(self.url, session, qido, wado, stow, chunk_size=size, permissive_uid=True)
                for size in (CHUNK, WHOLE)
            )
        except (ValueError, AttributeError) as error:
            raise UsageError(self.where, "not an address of a DICOMweb archive") from error
        for client in (self._client, self._sender):
            client.set_http_retry_params(retry=False)

    def search(self, filters: Mapping[str, Any]) -> list[SeriesEntry]:
        """The series that match, for example `{"Modality": "MR", "PatientID": "A-*"}`, in no order.

        Raises:
            ArchiveError: If the archive refuses or its answer makes no sense.
            ArchiveDownError: If it does not answer.
        """
        fields = ["NumberOfSeriesRelatedInstances", "StudyDate", "StudyTime", "Modality"]

        def ask() -> list[SeriesEntry]:
            found: dict[str, SeriesEntry] = {}
            while True:  # an archive may answer a part only
                page = self._client.search_for_series(
                    search_filters=dict(filters), fields=fields, offset=len(found) or None
                )
                before = len(found)
                found.update((entry.uid, entry) for entry in map(_entry, page) if is_uid(entry.uid))
                if len(found) == before or len(page) < SMALLEST_PAGE:
                    return list(found.values())

        return self._ask(ask)

    def describe(self, study: str, series: str, keywords: Sequence[str]) -> list[dict[str, Any]]:
        """Attributes of the objects of a series as DICOM JSON, which `Dataset.from_json` reads.

        Args:
            study: StudyInstanceUID.
            series: SeriesInstanceUID.
            keywords: The attributes wanted, as far as the objects have them.

        Raises:
            ArchiveError: If it is not there any more, or see `search`.
            ArchiveDownError: See `search`.
        """
        tags = [_tag(keyword) for keyword in keywords]

        def ask() -> list[dict[str, Any]]:
            found = self._client.retrieve_series_metadata(study, series)
            return [{tag: one[tag] for tag in tags if tag in one} for one in found]

        return self._ask(ask, f"series {series}")

    def download(self, study: str, series: str, folder: Path) -> int:
        """Write the objects of a series into a folder, `0001.dcm` the first; how many.

        Raises:
            ArchiveError: If it is not there any more, or see `search`.
            ArchiveDownError: See `search`.
            OutputError: If they cannot be written.
        """

        def fetch() -> int:
            count = 0
            objects = self._client.iter_series(study, series, media_types=ANY_SYNTAX)
            for count, one in enumerate(objects, start=1):
                _save(one, folder / f"{count:04d}.dcm")
            if count == 0:
                raise _NothingError
            return count

        return self._ask(fetch, f"series {series}")

    def download_object(self, study: str, series: str, uid: str, file: Path) -> None:
        """Write one object into a file.

        Raises:
            ArchiveError: If it is not there any more, or see `search`.
            ArchiveDownError: See `search`.
            OutputError: If it cannot be written.
        """

        def fetch() -> None:
            _save(self._client.retrieve_instance(study, series, uid, media_types=ANY_SYNTAX), file)

        self._ask(fetch, f"object {uid}")

    def store(self, files: Sequence[Path]) -> None:
        """Store objects. One that is there already is stored once, so trying again does no harm.

        Raises:
            ArchiveError: If the archive refuses one of them, or see `search`.
            ArchiveDownError: See `search`.
        """
        objects = [_object(file) for file in files]
        failed = self._ask(lambda: self._sender.store_instances(objects)).get("FailedSOPSequence") or []
        if failed:
            reason = int(failed[0].get("FailureReason", 0))
            what = f"did not store {len(failed)} of {len(files)} objects (reason {reason:04X}h)"
            raise ArchiveError(self.where, what, "Its own log says why")

    def pass_on(
        self, method: str, service: str, path: str, query: str, headers: Mapping[str, str], body: bytes
    ) -> requests.Response:
        """The archive's own answer to a request, whatever it says, with its content still to be read.

        Args:
            method: Of HTTP.
            service: `qido`, `wado` or `stow`.
            path: Below the address of the service, quoted.
            query: Of the search.
            headers: Of the request; credentials are added.
            body: Of the request.

        Raises:
            ArchiveDownError: If it does not answer.
        """
        prefix = self._prefixes.get(service, "").strip("/")
        url = "/".join(part for part in (self.url, prefix, path) if part) + (f"?{query}" if query else "")
        return self._ask(
            lambda: self._session.request(method, url, data=body, headers=dict(headers), stream=True)
        )

    def _ask(self, action: Callable[[], Answer], wanted: str = "this") -> Answer:
        """Do something until it succeeds, fails for good, or has failed for too long."""
        last = time.monotonic() + PATIENCE_SECONDS
        wait = FIRST_WAIT_SECONDS
        while True:
            try:
                return action()
            except (_NothingError, requests.RequestException, *DAMAGED) as error:
                if not (isinstance(error, _NothingError | requests.RequestException) or is_damage(error)):
                    raise
                failure = self._failure(error, wanted)
            except OSError as error:
                raise not_written(Path(str(error.filename or "the series")), error) from error
            if not isinstance(failure, ArchiveDownError) or time.monotonic() + wait > last:
                raise failure
            time.sleep(wait)
            wait *= 2

    def _failure(self, error: Exception, wanted: str) -> ArchiveError:
        """What went wrong, for people."""
        if isinstance(error, _NothingError):
            return self._gone(wanted)
        if isinstance(error, requests.HTTPError) and error.response is not None:
            return self._refusal(error.response.status_code, wanted)
        if isinstance(error, requests.exceptions.SSLError):
            return ArchiveError(self.where, "has a certificate that is not trusted",
                                "Name its authority in REQUESTS_CA_BUNDLE")  # fmt: skip
        if isinstance(error, requests.Timeout):
            return ArchiveDownError(self.where, "is too slow to answer", "Try again later")
        if isinstance(error, requests.ConnectionError | requests.exceptions.ChunkedEncodingError):
            return ArchiveDownError(self.where, "does not answer", "Is it running, and its address right?")
        return ArchiveError(self.where, "answers, but not as a DICOMweb archive does",
                            "Check its address, for example http://HOST:8042/dicom-web")  # fmt: skip

    def _refusal(self, state: int, wanted: str) -> ArchiveError:
        if state in BUSY:
            return ArchiveDownError(self.where, f"is busy or broken (HTTP {state})", "Try again later")
        if state in (401, 403):
            return ArchiveError(self.where, f"refuses the credentials (HTTP {state})",
                                "Set its user and password, or its token, and start again")  # fmt: skip
        if state in (404, 410):
            return self._gone(wanted)
        return ArchiveError(self.where, f"refuses {wanted} (HTTP {state})", "Its own log says why")

    def _gone(self, wanted: str) -> ArchiveError:
        if wanted == "this":
            return ArchiveError(self.where, "has no DICOMweb service at this address",
                                "Check its path, for example /dicom-web")  # fmt: skip
        return GoneError(self.where, f"{wanted} is not there any more", "Ask for another")


class _NothingError(Exception):
    """An answer without an object."""


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


def is_uid(text: str) -> bool:
    """Whether a text can be an identifier of DICOM; one that can is also safe as a file's name.

    >>> is_uid("1.2.840.10008"), is_uid("../1.2"), is_uid("")
    (True, False, False)
    """
    return re.fullmatch(r"[0-9][0-9.]{0,63}", text) is not None


def _tag(keyword: str) -> str:
    """The key of an attribute in DICOM JSON.

    >>> _tag("Modality")
    '00080060'
    """
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"{keyword} is no attribute")
    return f"{tag:08X}"


def _entry(found: Any) -> SeriesEntry:
    """A series of an answer.

    Raises:
        OddValueError: If the answer is none of DICOM JSON, or does not say which series.
    """
    if not isinstance(found, Mapping):
        raise OddValueError

    def first(keyword: str) -> Any:
        element = found.get(_tag(keyword), {})
        values = element.get("Value", ()) if isinstance(element, Mapping) else ()
        return values[0] if isinstance(values, list | tuple) and values else ""

    if not (first("SeriesInstanceUID") and first("StudyInstanceUID")):
        raise OddValueError
    images = first("NumberOfSeriesRelatedInstances")
    return SeriesEntry(
        uid=str(first("SeriesInstanceUID")),
        study=str(first("StudyInstanceUID")),
        modality=str(first("Modality")),
        images=int(number(images)) if images != "" else None,
        date=str(first("StudyDate")),
        time=str(first("StudyTime")),
    )


def _object(file: Path) -> Dataset:
    try:
        return pydicom.dcmread(file)
    except OSError as error:
        raise OutputError(file, f"cannot be read ({error.strerror or type(error).__name__})") from error


def _save(one: Dataset, file: Path) -> None:
    one.save_as(file)

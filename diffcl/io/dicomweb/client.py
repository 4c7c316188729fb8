"""The client of a DICOMweb archive: which series it has, a series as files, an object stored.

Source:
    DICOM PS3.18: QIDO-RS (section 10.6), WADO-RS (10.4), STOW-RS (10.5).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import unquote, urlsplit

import pydicom
import requests
from dicomweb_client import DICOMwebClient
from pydicom.dataset import Dataset

from diffcl.errors import ArchiveDownError, ArchiveError, OutputError, UsageError
from diffcl.files import not_written
from diffcl.io.dicom.damage import DAMAGED, is_damage
from diffcl.io.dicomweb.entries import SeriesEntry, attribute_key, is_uid, series_entry
from diffcl.io.dicomweb.failures import NothingError, failure_of
from diffcl.io.dicomweb.session import Credentials, open_session

Answer = TypeVar("Answer")

PATIENCE_SECONDS: Final = 8.0
"""No new attempt begins later than this; it outlasts the restart of an archive."""

FIRST_WAIT_SECONDS: Final = 0.5
"""Pause before the second attempt; each further one is twice as long."""

CHUNK: Final = 8_000_000
"""Bytes read at a time."""

WHOLE: Final = 1 << 40
"""Objects are sent in one piece up to this size: one sent in chunks could not be sent again."""

SMALLEST_PAGE: Final = 100
"""No archive cuts the answer to a search shorter than this."""

ANY_SYNTAX: Final = (("application/dicom", "*"),)
"""Objects as the archive keeps them, compressed or not."""


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
        session = open_session(parts.scheme, credentials)
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
        fields = ["NumberOfSeriesRelatedInstances", "StudyDate", "StudyTime", "Modality", "SeriesDescription"]

        def ask() -> list[SeriesEntry]:
            found: dict[str, SeriesEntry] = {}
            while True:  # an archive may answer a part only
                page = self._client.search_for_series(
                    search_filters=dict(filters), fields=fields, offset=len(found) or None
                )
                before = len(found)
                found.update((entry.uid, entry) for entry in map(series_entry, page) if is_uid(entry.uid))
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
        tags = [attribute_key(keyword) for keyword in keywords]

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
                raise NothingError
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
            except (NothingError, requests.RequestException, *DAMAGED) as error:
                if not (isinstance(error, NothingError | requests.RequestException) or is_damage(error)):
                    raise
                failure = failure_of(error, self.where, wanted)
            except OSError as error:
                raise not_written(Path(str(error.filename or "the series")), error) from error
            if not isinstance(failure, ArchiveDownError) or time.monotonic() + wait > last:
                raise failure
            time.sleep(wait)
            wait *= 2


def _object(file: Path) -> Dataset:
    try:
        return pydicom.dcmread(file)
    except OSError as error:
        raise OutputError(file, f"cannot be read ({error.strerror or type(error).__name__})") from error


def _save(one: Dataset, file: Path) -> None:
    one.save_as(file)

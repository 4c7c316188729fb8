"""Where results are sent: an archive that takes C-STORE, or one that takes STOW-RS."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import pydicom
from pynetdicom.ae import ApplicationEntity
from pynetdicom.status import code_to_category

from diffcl.errors import ArchiveDownError, ArchiveError, UsageError
from diffcl.io.dicomweb.client import Archive
from diffcl.io.dicomweb.session import Credentials

CONNECT_SECONDS = 10
ANSWER_SECONDS = 60

_DIMSE = re.compile(r"(?P<title>[^@\\\s]{1,16})@(?P<host>[^@:\s]+):(?P<port>\d{1,5})")


class Destination(ABC):
    """Takes DICOM objects."""

    @abstractmethod
    def send(self, files: Sequence[Path]) -> None:
        """Send objects; those that are there already do no harm.

        Raises:
            ArchiveError: If it refuses one of them.
            ArchiveDownError: If it does not answer.
        """

    def count(self, series: str) -> int | None:
        """How many images of a series it has; None where it cannot be asked or does not know the series."""
        del series
        return None


class DicomWeb(Destination):
    """Sends by STOW-RS.

    Args:
        archive: Where to.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def send(self, files: Sequence[Path]) -> None:
        """Send objects; see `Destination`."""
        self._archive.store(files)

    def count(self, series: str) -> int | None:
        """How many images of a series it has; see `Destination`."""
        try:
            found = self._archive.search({"SeriesInstanceUID": series})
        except ArchiveError:
            return None
        return next((entry.images for entry in found if entry.uid == series), None)


class Dimse(Destination):
    """Sends by C-STORE.

    Args:
        title: Application entity title of the archive.
        host: Its address.
        port: Its port.
        own_title: The sender's title.
    """

    def __init__(self, title: str, host: str, port: int, own_title: str) -> None:
        self._title, self._host, self._port, self._own_title = title, host, port, own_title

    def send(self, files: Sequence[Path]) -> None:
        """Send objects; see `Destination`."""
        where = f"archive {self._title}@{self._host}:{self._port}"
        objects = [pydicom.dcmread(file) for file in files]
        entity = ApplicationEntity(ae_title=self._own_title)
        entity.connection_timeout, entity.acse_timeout = CONNECT_SECONDS, CONNECT_SECONDS
        entity.dimse_timeout = entity.network_timeout = ANSWER_SECONDS
        for one in objects:
            entity.add_requested_context(one.SOPClassUID, one.file_meta.TransferSyntaxUID)
        association = entity.associate(self._host, self._port, ae_title=self._title)
        if not association.is_established:
            refused = association.is_rejected
            what = "refuses the caller" if refused else "does not answer, or takes no segmentations"
            raise ArchiveDownError(where, what, "Is it running, and does it know the caller?")
        try:
            for one in objects:
                if not any(
                    context.abstract_syntax == one.SOPClassUID for context in association.accepted_contexts
                ):
                    raise ArchiveError(where, f"does not take objects of the kind {one.SOPClassUID.name}")
                status = association.send_c_store(one).get("Status")
                if status is None:
                    raise ArchiveDownError(where, "broke off", "Try again later")
                if code_to_category(status) not in ("Success", "Warning"):
                    raise ArchiveError(
                        where, f"did not store an object (status {status:04X}h)", "Its own log says why"
                    )
        finally:
            association.release()


def destination(text: str, own_title: str, credentials: Credentials | None = None) -> Destination:
    """The destination that a text names: `TITLE@HOST:PORT`, or the address of a DICOMweb service.

    Raises:
        UsageError: If it is neither.
    """
    if "://" in text:
        return DicomWeb(Archive(text, credentials))
    found = _DIMSE.fullmatch(text)
    if found is None or not 0 < int(found["port"]) < 65536:
        raise UsageError(text.rpartition("@")[2], "not a destination",
                         "Give TITLE@HOST:PORT, or an address like http://127.0.0.1:8042/dicom-web")  # fmt: skip
    return Dimse(found["title"], found["host"], int(found["port"]), own_title)

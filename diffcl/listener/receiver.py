"""A storage SCP: takes images of CT and MR from scanners and archives, and says when a series is whole.

Source:
    DICOM PS3.4, annex B, Storage Service Class.
"""

from __future__ import annotations

import time
from threading import Lock
from typing import Any, Final

from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
)
from pynetdicom import ALL_TRANSFER_SYNTAXES, evt  # type: ignore[attr-defined]
from pynetdicom.ae import ApplicationEntity
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from pynetdicom.transport import ThreadedAssociationServer

from diffcl.errors import OutputError, UsageError
from diffcl.io.dicom.damage import DAMAGED, is_damage
from diffcl.io.dicomweb.client import is_uid
from diffcl.listener.queue import Job, Queue

IMAGES: Final = (
    CTImageStorage,
    MRImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
)

STORED: Final = 0x0000
NO_SPACE: Final = 0xA700
NOT_UNDERSTOOD: Final = 0xC000

STALLED: Final = 10
"""A sender that keeps its association open is waited for this many times as long."""


class Receiver:
    """Receives into a queue.

    A series counts as whole when none of its images has come for a while. As long as a sender of some of them
    keeps its association open, it is waited for longer, for it may only be slow.

    Args:
        queue: Where to.
        title: Application entity title to be called by.
        host: Address to listen on.
        port: Port to listen on.
        quiet: Seconds without an image after which a series counts as whole.
    """

    def __init__(self, queue: Queue, title: str, host: str, port: int, quiet: float) -> None:
        self._queue = queue
        self._address = (host, port)
        self._quiet = quiet
        self._entity = ApplicationEntity(ae_title=title)
        self._entity.require_called_aet = True
        self._entity.maximum_pdu_size = 0  # no limit
        self._entity.add_supported_context(Verification)
        for uid in IMAGES:
            self._entity.add_supported_context(uid, ALL_TRANSFER_SYNTAXES)
        self._server: ThreadedAssociationServer | None = None
        self._last: dict[str, float] = {}
        self._open: dict[object, set[str]] = {}
        self._lock = Lock()

    def start(self) -> None:
        """Listen from now on. What was being received when the process ended last counts as just received.

        Raises:
            UsageError: If the address cannot be listened on.
        """
        now = time.monotonic()
        self._last = {job.uid: now for job in self._queue.jobs("receiving")}
        handlers: Any = [(evt.EVT_C_STORE, self._store), (evt.EVT_CONN_CLOSE, self._closed)]
        try:
            self._server = self._entity.start_server(self._address, block=False, evt_handlers=handlers)
        except OSError as error:
            host, port = self._address
            raise UsageError(f"{host}:{port}", f"cannot be listened on ({error.strerror or error})",
                             "Choose another port with --port") from error  # fmt: skip

    def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.shutdown()

    def whole(self) -> list[Job]:
        """Let the series that have become whole wait in the queue.

        Raises:
            OutputError: If one cannot be moved.
        """
        with self._lock:
            now = time.monotonic()
            busy = {series for uids in self._open.values() for series in uids}
            ready = [
                series
                for series, last in self._last.items()
                if now - last >= self._quiet * (STALLED if series in busy else 1)
            ]
            for series in ready:
                del self._last[series]
                for uids in self._open.values():
                    uids.discard(series)
            return [self._queue.complete(series) for series in ready]

    def _store(self, event: evt.Event) -> int:
        """Answer a C-STORE; called by pynetdicom in the thread of the association."""
        try:
            series, uid = (
                str(event.dataset.SeriesInstanceUID),
                str(event.file_meta.MediaStorageSOPInstanceUID),
            )
            content = event.encoded_dataset()
        except DAMAGED as error:
            if not is_damage(error):
                raise
            return NOT_UNDERSTOOD
        if not (is_uid(series) and is_uid(uid)):
            return NOT_UNDERSTOOD
        with self._lock:
            try:
                self._queue.receive(series, uid, content)
            except OutputError:
                return NO_SPACE
            self._last[series] = time.monotonic()
            self._open.setdefault(event.assoc, set()).add(series)
        return STORED

    def _closed(self, event: evt.Event) -> Any:
        with self._lock:
            self._open.pop(event.assoc, None)

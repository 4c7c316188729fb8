"""A storage SCP: takes images of CT and MR from scanners and archives, and says when a series is whole.

Source:
    DICOM PS3.4, annex B, Storage Service Class.
"""

from __future__ import annotations

import time
from io import BytesIO
from threading import Lock, Thread
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
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from diffcl.errors import OutputError, ScanError, UsageError
from diffcl.io.dicom.damage import DAMAGED, is_damage
from diffcl.io.dicom.data_set import check_unpacked
from diffcl.io.dicomweb.entries import is_uid
from diffcl.listener.job import Job
from diffcl.listener.queue import Queue

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

MOST_ASSOCIATIONS: Final = 200
"""Senders at one time; further ones are refused."""

MOST_CONNECTIONS: Final = 250
"""Connections at one time; further ones are closed before anything is read."""

ASSOCIATE_SECONDS: Final = 5
"""Time after which a connection is closed on which nobody asks for an association."""

IDLE_SECONDS: Final = 30
"""Time after which an association is ended on which nothing comes."""

PDU_SECONDS: Final = 60
"""Time within which a message must have come, however slowly."""

MOST_PDU: Final = 1 << 20
"""Bytes of the messages in which an image comes; a sender that exceeds it is cut off."""

MOST_OBJECT: Final = 2 << 30
"""Bytes of an image with all its frames; a sender that exceeds it is cut off."""

STALLED: Final = 10
"""How many times as long a sender is waited for that keeps its association open."""


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
        self._entity.maximum_associations = MOST_ASSOCIATIONS
        self._entity.maximum_pdu_size = MOST_PDU
        self._entity.acse_timeout = ASSOCIATE_SECONDS
        self._entity.network_timeout = self._entity.dimse_timeout = IDLE_SECONDS
        self._entity.add_supported_context(Verification)
        for uid in IMAGES:
            self._entity.add_supported_context(uid, ALL_TRANSFER_SYNTAXES)
        self._server: ThreadedAssociationServer | None = None
        self._refused = 0
        self._last: dict[str, float] = {}
        self._open: dict[object, set[str]] = {}
        self._lock = Lock()

    def start(self) -> None:
        """Listen from now on. What was being received when the process ended last counts as just received.

        Raises:
            UsageError: If the address cannot be listened on.
            OutputError: If the queue cannot be written.
        """
        self._queue.recover()
        now = time.monotonic()
        self._last = {job.uid: now for job in self._queue.jobs("receiving")}
        handlers: Any = [(evt.EVT_C_STORE, self._store), (evt.EVT_CONN_CLOSE, self._closed)]
        try:
            self._server = self._entity.make_server(
                self._address, evt_handlers=handlers, server_class=_Server, request_handler=_Caller
            )
        except OSError as error:
            host, port = self._address
            raise UsageError(f"{host}:{port}", f"cannot be listened on ({error.strerror or error})",
                             "Choose another port with --port") from error  # fmt: skip
        Thread(target=self._server.serve_forever, name="receiving", daemon=True).start()

    def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.shutdown()

    def refused(self) -> int:
        """How many images were refused since this was asked last, because there is no space for them."""
        with self._lock:
            refused, self._refused = self._refused, 0
        return refused

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
            received = {job.uid for job in self._queue.jobs("receiving")}
            return [self._queue.complete(series) for series in ready if series in received]

    def _store(self, event: evt.Event) -> int:
        """Answer a C-STORE; called by pynetdicom in the thread of the association."""
        try:
            content = event.encoded_dataset()
            check_unpacked(BytesIO(content), "image")  # before pynetdicom unpacks all of it
            series, uid = (
                str(event.dataset.SeriesInstanceUID),
                str(event.file_meta.MediaStorageSOPInstanceUID),
            )
        except ScanError:
            return NOT_UNDERSTOOD
        except (*DAMAGED, OSError) as error:
            if not is_damage(error):
                raise
            return NOT_UNDERSTOOD
        if not (is_uid(series) and is_uid(uid)):
            return NOT_UNDERSTOOD
        with self._lock:  # so that the series does not count as whole meanwhile
            self._last[series] = time.monotonic()
            self._open.setdefault(event.assoc, set()).add(series)
        try:
            self._queue.receive(series, uid, content)
        except OutputError:
            with self._lock:
                self._refused += 1
            return NO_SPACE
        with self._lock:
            self._last[series] = time.monotonic()
            self._open.setdefault(event.assoc, set()).add(series)
        return STORED

    def _closed(self, event: evt.Event) -> Any:
        with self._lock:
            self._open.pop(event.assoc, None)


class _Server(ThreadedAssociationServer):
    """Takes so many connections and no more."""

    daemon_threads = True

    def __init__(self, entity: ApplicationEntity, *args: Any, **more: Any) -> None:
        super().__init__(entity, *args, **more)
        entity._servers.append(self)  # noqa: SLF001 - where it looks for itself at its end

    def verify_request(self, *_: Any) -> bool:
        """Whether a connection is taken; `socketserver` calls it."""
        return len(self.active_associations) < MOST_CONNECTIONS

    def get_request(self) -> Any:
        """A connection on which nothing is waited for without end; `socketserver` calls it."""
        connection, address = super().get_request()
        connection.settimeout(IDLE_SECONDS)
        return connection, address


class _Caller(RequestHandler):
    """Reads what a sender sends, within limits of time and size."""

    def _create_association(self) -> Association:
        association = super()._create_association()
        limited = _Limited(self.request)
        socket: Any = association.dul.socket
        socket.recv = limited.read  # pynetdicom reads whatever length a message claims to have
        association.bind(evt.EVT_DIMSE_RECV, lambda _: limited.begin())
        return association


class _Limited:
    """Reads from a connection.

    Args:
        connection: The socket.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._received = 0

    def begin(self) -> None:
        """An object has come, and the next begins."""
        self._received = 0

    def read(self, size: int) -> bytearray:
        """So many bytes, or fewer at the end of the connection.

        Raises:
            OSError: If they are too many or come too slowly; the caller then closes the connection.
        """
        self._received += size
        if size > MOST_PDU or self._received > MOST_OBJECT:
            raise OSError("more than may be sent")
        content, got = bytearray(size), 0
        last = time.monotonic() + PDU_SECONDS
        while got < size:
            part = self._connection.recv_into(memoryview(content)[got:])
            got += part
            if not part:
                return content[:got]
            if time.monotonic() > last:
                raise TimeoutError
        return content

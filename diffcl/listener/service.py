"""The listener: receives, segments one series after the other, and sends what comes out, each at its own pace."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event

from filelock import AcquireReturnProxy, BaseFileLock, FileLock, Timeout

from diffcl.errors import ArchiveError, DiffclError, OutputError, UsageError
from diffcl.inference import Predictor
from diffcl.inference.outputs import Outputs
from diffcl.inference.results import write_results
from diffcl.io import read_scan
from diffcl.listener.destination import Destination
from diffcl.listener.queue import MOST_ATTEMPTS, Job, Queue
from diffcl.listener.receiver import Receiver

LOOK_EVERY = 0.2
"""Seconds between two looks into the queue."""

LOOK_AT_MOST = 2.0
"""Seconds for which somebody who asks whether a listener runs may hold its lock."""

MOST_DEATHS = 3
"""Attempts to segment a series after which it is set aside, for it has ended the process that often."""


class Listener:
    """Segments whatever is received and sends it on, until it is stopped.

    Args:
        queue: Where series wait.
        receiver: Where they come from.
        predictor: Segments them.
        to: Where the results go.
        report: Whether a structured report with the volumes is sent as well.
        tell: Told what happens, one sentence each.
    """

    def __init__(
        self,
        queue: Queue,
        receiver: Receiver,
        predictor: Predictor,
        to: Destination,
        *,
        report: bool = False,
        tell: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self._queue = queue
        self._receiver = receiver
        self._predictor = predictor
        self._to = to
        self._report = report
        self._tell = tell

    def run(self, stop: Event) -> None:
        """Work until told to stop.

        Raises:
            UsageError: If another listener works on the queue, or the address cannot be listened on.
            OutputError: If the queue cannot be written.
        """
        with _alone(self._queue):
            self._receiver.start()
            try:
                with ThreadPoolExecutor(1, "sending") as pool:
                    sending = pool.submit(self._send_all, stop)
                    try:
                        while not stop.wait(LOOK_EVERY) and not sending.done():
                            self._segment_next()
                    finally:
                        stop.set()
                    sending.result()
            finally:
                self._receiver.stop()

    def _segment_next(self) -> None:
        for whole in self._receiver.whole():
            self._tell(f"series {whole.uid}: {whole.notes()['count']} images received")
        job = self._queue.due("waiting")
        if job is None:
            return
        attempt = job.begin()
        if attempt > MOST_DEATHS and not job.notes().get("error"):
            self._give_up(job, "ended the program each time it was segmented")
            return
        try:
            self._segment(job)
        except OutputError as error:
            self._try_again(job, attempt, error)
        except DiffclError as error:
            self._give_up(job, f"{error.what}. {error.next_step}" if error.next_step else error.what)

    def _segment(self, job: Job) -> None:
        scan = read_scan(job.images, series_uid=job.uid)
        if scan.series is None:
            raise ValueError("a series is read as one")
        info = self._predictor.model.info
        found = self._predictor(scan)
        report = job.folder / "report.dcm" if self._report else None
        write_results(scan, found, info, Outputs(job.folder / "segmentation.dcm", report=report))
        seconds = round(sum(found.report.seconds.values()), 1)
        job.note(model=info.name, version=info.version, seconds=seconds, warnings=found.report.warnings)
        self._queue.segmented(job)
        self._tell(f"series {job.uid}: segmented by {info.name} {info.version} in {seconds} s")

    def _send_all(self, stop: Event) -> None:
        while not stop.wait(LOOK_EVERY):
            job = self._queue.due("sending")
            if job is None:
                continue
            attempt = job.begin()
            try:
                self._to.send(job.results)
            except ArchiveError as error:
                self._try_again(job, attempt, error)
            else:
                self._queue.sent(job)
                self._tell(f"series {job.uid}: result sent")

    def _try_again(self, job: Job, attempt: int, error: DiffclError) -> None:
        if attempt >= MOST_ATTEMPTS:
            self._give_up(job, str(error))
            return
        job.note(error=str(error))
        wait = round(job.notes()["not_before"] - time.time())
        self._tell(f"series {job.uid}: {error}; tried again in {wait} s")

    def _give_up(self, job: Job, why: str) -> None:
        self._queue.give_up(job, why)
        self._tell(f"series {job.uid}: set aside, {why}")


def _alone(queue: Queue) -> AcquireReturnProxy[BaseFileLock]:
    """Holds the lock of the one listener of a queue; the end of its process, of whatever kind, lets go of it."""
    try:
        return FileLock(queue.folder / ".lock").acquire(timeout=LOOK_AT_MOST)
    except Timeout as error:
        raise UsageError(
            queue.folder, "another listener works on this queue", "Stop it, or name another --queue"
        ) from error


def is_running(queue: Queue) -> bool:
    """Whether a listener works on a queue."""
    try:
        with FileLock(queue.folder / ".lock", timeout=0):
            return False
    except Timeout:
        return True

"""The listener: receives, segments one series after the other, and sends what comes out, each at its own pace."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Event

import pydicom

from diffcl.data.sequences import read_case
from diffcl.errors import ArchiveError, DiffclError, OutputError, ScanError, failure_sentence
from diffcl.files import replace_file
from diffcl.inference import Predictor
from diffcl.inference.outlook import Outlook
from diffcl.inference.outputs import Outputs
from diffcl.inference.results import write_results
from diffcl.io import read_scan
from diffcl.io.dicom.damage import DAMAGED, number
from diffcl.io.dicom.releases import save_dicom
from diffcl.io.dicom.series import DicomSeries
from diffcl.io.scan import Scan
from diffcl.listener.cases import ASK_AGAIN as OTHERS_EVERY
from diffcl.listener.cases import Cases
from diffcl.listener.destination import Destination
from diffcl.listener.job import Job
from diffcl.listener.queue import MOST_ATTEMPTS, Queue
from diffcl.listener.receiver import Receiver
from diffcl.listener.sole_listener import claim

LOOK_EVERY = 0.2
"""Seconds between two looks into the queue."""

DISK_WAIT = 10.0
"""Seconds before something is tried again that the disk did not take."""

REST_SECONDS = 600.0
"""Images that the archive has are waited for so long after the last one that came."""

ASK_AGAIN = 30.0
"""Seconds before the archive is asked again how many images it has."""

PRUNE_EVERY = 600.0
"""Seconds after which kept images that are too old are removed."""

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
        self._pruned = 0.0
        sequences = predictor.model.info.recipe.sequences
        self._cases = Cases(queue, sequences) if sequences else None

    def run(self, stop: Event) -> None:
        """Work until told to stop.

        Raises:
            UsageError: If another listener works on the queue, or the address cannot be listened on.
            OutputError: If the queue cannot be written.
        """
        with claim(self._queue):
            self._receiver.start()
            try:
                with ThreadPoolExecutor(1, "sending") as pool:
                    sending = pool.submit(self._send_all, stop)
                    try:
                        while not stop.is_set() and not sending.done():
                            self._look(self._segment_next, stop)
                            rest(LOOK_EVERY, stop)
                    finally:
                        stop.set()
                    sending.result()
            finally:
                self._receiver.stop()

    def _look(self, work: Callable[[], None], stop: Event) -> None:
        """Do what is next; a disk that is full is said, and waited for."""
        try:
            work()
        except OutputError as error:
            self._tell(f"{error}; tried again in {DISK_WAIT:.0f} s")
            rest(DISK_WAIT, stop)

    def _segment_next(self) -> None:
        if refused := self._receiver.refused():
            self._tell(f"{refused} images were refused, because the disk of the queue has no space for them")
        for whole in self._receiver.whole():
            self._tell(f"series {whole.uid}: {whole.notes()['count']} images received")
        self._prune()
        job = self._queue.due("waiting")
        while job is not None and self._waits_for_others(job):
            job = self._queue.due("waiting")
        if job is None or self._is_awaited(job):
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
        except Exception as error:  # noqa: BLE001 - one series must not end the work on all others
            self._give_up(job, failure_sentence(job.uid, error))

    def _prune(self) -> None:
        if time.monotonic() - self._pruned > PRUNE_EVERY:
            self._queue.prune()
            self._pruned = time.monotonic()

    def _is_awaited(self, job: Job) -> bool:
        """Whether the archive has more images of a series than have come, and these may still come."""
        there, notes = self._to.count(job.uid), job.notes()
        job.note(in_archive=there)
        if there is None or there <= job.count or time.time() - notes.get("received", 0) > REST_SECONDS:
            return False
        job.note(not_before=time.time() + ASK_AGAIN)
        if notes.get("in_archive") != there:
            self._tell(f"series {job.uid}: {job.count} of {there} images came, the others are waited for")
        return True

    def _waits_for_others(self, job: Job) -> bool:
        """Whether a series is no first sequence, or others of its study may still come."""
        if self._cases is None:
            return False
        try:
            if not self._cases.is_first(job):
                self._tell(f"series {job.uid}: {self._cases.put_by(job)}")
                return True
        except ScanError as error:
            self._give_up(job, f"{error.what}. {error.next_step}")
            return True
        awaited = self._cases.awaited(job)
        if awaited:
            if job.notes().get("awaited") != awaited:
                self._tell(f"series {job.uid}: {', '.join(awaited)} waited for")
            job.note(not_before=time.time() + OTHERS_EVERY, awaited=awaited)
        return bool(awaited)

    def _segment(self, job: Job) -> None:
        scan = self._read(job)
        if self._cases is not None:
            sequences = self._predictor.model.info.recipe.sequences
            scan = read_case(self._cases.images(job, scan), sequences)
        if scan.series is None:
            raise ValueError("a series is read as one")
        info = self._predictor.model.info
        found = self._predictor(scan, on_outlook=partial(self._tell_outlook, job.uid))
        seg, report = job.folder / "segmentation.dcm", job.folder / "report.dcm" if self._report else None
        write_results(scan, found, info, Outputs(seg, report=report))
        notes = job.notes()
        incomplete = missing(scan.series, notes.get("in_archive"))
        before = notes.get("sent")
        replaces = [f"it takes the place of one that was made from {before} images"] if before else []
        if incomplete or before:
            _describe(
                seg,
                f"{info.name} {info.version}, {job.count} images",
                incomplete=bool(incomplete),
                before=before,
            )
        seconds = round(sum(found.report.seconds.values()), 1)
        remarks = [*incomplete, *replaces]
        job.note(
            model=info.name,
            version=info.version,
            seconds=seconds,
            warnings=[*found.report.warnings, *remarks],
        )
        self._queue.segmented(job)
        told = "".join(f"; {remark}" for remark in remarks)
        self._tell(f"series {job.uid}: segmented by {info.name} {info.version} in {seconds} s{told}")

    def _tell_outlook(self, uid: str, outlook: Outlook) -> None:
        for remark in outlook.remarks():
            self._tell(f"series {uid}: {remark}")

    def _read(self, job: Job) -> Scan:
        """The scan of all images of a series, or of the latest alone, if only these make one."""
        if not job.earlier.is_dir():
            return read_scan(job.images, series_uid=job.uid)
        try:
            return read_scan(job.folder, series_uid=job.uid)
        except ScanError as error:
            try:
                scan = read_scan(job.images, series_uid=job.uid)
            except ScanError:
                raise error from None
        job.forget_earlier()
        return scan

    def _send_all(self, stop: Event) -> None:
        while not stop.wait(LOOK_EVERY):
            self._look(self._send_next, stop)

    def _send_next(self) -> None:
        job = self._queue.due("sending")
        if job is None:
            return
        try:
            attempt, results = job.begin(), job.results
            if not results:
                raise OutputError(job.folder, "has no results", "Let it be tried again with --retry")
            self._to.send(results)
        except ArchiveError as error:
            self._try_again(job, attempt, error)
        except OutputError:
            if job.folder.exists():  # or images that came late have taken it back to be segmented again
                raise
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


def rest(seconds: float, stop: Event) -> None:
    """Let seconds pass, or fewer when told to stop.

    Unlike `Event.wait`, an exception that a signal raises in here leaves no lock half released.
    """
    until = time.monotonic() + seconds
    while not stop.is_set() and (left := until - time.monotonic()) > 0:
        time.sleep(min(left, LOOK_EVERY))


def missing(series: DicomSeries, in_archive: int | None) -> list[str]:
    """What says that images of a series are missing, one sentence each.

    Args:
        series: As it was received.
        in_archive: How many images of it the archive has; None where it does not say.
    """
    count = len(series.files)
    found = [f"only {count} of {in_archive} images came"] if in_archive and count < in_archive else []
    numbers = set()
    for header in series.headers:
        with suppress(*DAMAGED):  # a number that cannot be read says nothing
            numbers.add(int(number(header.get("InstanceNumber"))))
    if 1 < len(numbers) == len(series.headers):
        lacking = max(numbers) - min(numbers) + 1 - len(numbers)
        if lacking:
            found.append(f"the numbers of the images have gaps, as if {lacking} were missing")
    return found


def _describe(seg: Path, text: str, *, incomplete: bool, before: int | None) -> None:
    """Say in a segmentation from how many images it was made, if that has changed or is not all."""
    content = pydicom.dcmread(seg)
    more = " (incomplete)" * incomplete + (f", replaces that of {before}" if before else "")
    content.ContentDescription = f"{text}{more}"[:64]
    with replace_file(seg) as temporary:
        save_dicom(content, temporary)

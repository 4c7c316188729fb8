"""The queue of the listener: folders on disk, so that neither a kill nor a crash loses a series.

    QUEUE/incoming/                         images on their way into their series, see `diffcl.listener.arrivals`
    QUEUE/receiving/UID/images/SOP.dcm      a series that is being received, by its SeriesInstanceUID
    QUEUE/waiting/UID/images/SOP.dcm        a series to be segmented
    QUEUE/waiting/UID/earlier/SOP.dcm       images of it that were segmented before the others came
    QUEUE/sending/UID/*.dcm                 the results, to be sent, beside the images
    QUEUE/failed/UID/                       what was given up, with all that is needed to try again
    QUEUE/kept/UID/images/SOP.dcm           the images of a series that is done, for those that may come late
    QUEUE/done/UID.json                     what became of a series; the latest `RECORDS` are kept

A series moves from one folder to the next by a rename. What is known of it is in `job.json` beside its files.
No name holds anything about the patient.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import RLock
from typing import Any, Final, Literal

from diffcl.errors import OutputError
from diffcl.files import not_written, settle, write_text
from diffcl.listener.arrivals import Arrivals
from diffcl.listener.job import Job

State = Literal["receiving", "waiting", "sending", "failed"]

FORMER: Final = ("waiting", "sending", "failed", "kept")
"""Where images of a series may be that came before the present ones."""

STATES: Final[tuple[State, ...]] = ("receiving", "waiting", "sending", "failed")

MOST_ATTEMPTS: Final = 150
"""Attempts after which something is given up; that is after a day of waiting."""

RECORDS: Final = 1000
"""Series that are done of which a record stays, the latest ones."""

KEPT_HOURS: Final = 24.0
"""Images of a series that is done are kept so long, for those that may come late."""

KEPT_BYTES: Final = 20 * 10**9
"""Size up to which the images of series that are done are kept altogether; those that were done first go first."""

SPARE_BYTES: Final = 10**8
"""Nothing is received that would leave less of the disk, or a twentieth of it if that is less: results need space."""


class Queue:
    """A queue in a folder. One process writes; any may look.

    Args:
        folder: Where it is; made if missing.
        kept_hours: How long the images of a series that is done are kept.
        kept_bytes: How large they may be altogether.

    Raises:
        OutputError: If it cannot be made.
    """

    def __init__(
        self, folder: Path, *, kept_hours: float = KEPT_HOURS, kept_bytes: float = KEPT_BYTES
    ) -> None:
        self.folder = folder
        self._kept_seconds, self._kept_bytes = 3600 * kept_hours, kept_bytes
        self._moving = RLock()
        self._arrivals = Arrivals(folder, self._moving)
        try:
            for name in (*STATES, "incoming", "kept", "done"):
                (folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise not_written(folder, error) from error

    def recover(self) -> None:
        """Put into their series the images that a kill or a power cut left on the way; see `Arrivals.recover`.

        Raises:
            OutputError: If that cannot be done.
        """
        self._arrivals.recover()

    def receive(self, series: str, uid: str, content: bytes) -> None:
        """Keep an image; once this returns, it is on the disk, also if the power fails; see `Arrivals.receive`.

        Raises:
            OutputError: If it cannot be written, or the disk is nearly full.
        """
        try:
            self._make_room(len(content))
        except OSError as error:
            raise not_written(self.folder, error) from error
        self._arrivals.receive(series, uid, content)

    def complete(self, series: str) -> Job:
        """Let a series that was received wait to be segmented, with what was received of it before.

        Raises:
            OutputError: If it cannot be moved.
        """
        source, job = Job(self.folder / "receiving" / series), Job(self.folder / "waiting" / series)
        with self._moving:
            self._arrivals.settle(series)
            try:
                former = next(
                    (one for state in FORMER if (one := self.folder / state / series).exists()), None
                )
                if former is None:
                    source.folder.replace(job.folder)
                elif former == job.folder:
                    _move_all(source.images, job.images)
                else:
                    former.replace(job.folder)
                    for result in job.results:
                        result.unlink()
                    _move_all(job.images, job.earlier)
                    _move_all(source.images, job.images)
                    for image in job.images.iterdir():
                        (job.earlier / image.name).unlink(missing_ok=True)
                shutil.rmtree(source.folder, ignore_errors=True)
                for folder in (
                    job.earlier,
                    job.images,
                    job.folder,
                    job.folder.parent,
                    self.folder / "receiving",
                ):
                    if folder.is_dir():
                        settle(folder)
                settle(self.folder / "incoming")
            except OSError as error:
                raise not_written(job.folder, error) from error
            job.note(received=time.time(), count=job.count, attempts=0, not_before=0, error="")
        return job

    def jobs(self, state: State) -> list[Job]:
        """The series in a part of the queue, the one that came first first."""
        folders = [folder for folder in (self.folder / state).iterdir() if not folder.name.startswith(".")]
        return [
            job for _, job in sorted(((_came(job), job) for job in map(Job, folders)), key=lambda one: one[0])
        ]

    def due(self, state: State) -> Job | None:
        """The first series of a part whose time has come; None for none."""
        now = time.time()
        return next((job for job in self.jobs(state) if job.notes().get("not_before", 0) <= now), None)

    def segmented(self, job: Job) -> Job:
        """The results of a series are there and wait to be sent."""
        job.note(attempts=0, not_before=0, error="", count=job.count, segmented=job.count)
        with self._moving:
            _move_all(job.earlier, job.images)
        return self._move(job, "sending")

    def sent(self, job: Job) -> None:
        """The results were sent: a record stays, and the images for some time."""
        with self._moving:
            if not job.folder.exists():  # images that came late have taken it back to be segmented again
                again = Job(self.folder / "waiting" / job.uid)
                if again.folder.exists():
                    again.note(sent=again.notes().get("segmented"))
                return
            record = {**job.notes(), "finished": time.time()}
            write_text(self.folder / "done" / f"{job.uid}.json", json.dumps(record))
            for result in job.results:
                result.unlink(missing_ok=True)
            job.note(finished=record["finished"], sent=record.get("segmented"))
            self._move(job, "kept")
        for old in self._records()[RECORDS:]:
            old.unlink(missing_ok=True)
        self.prune()

    def all(self) -> list[Job]:
        """Every series whose images are here and that was received as a whole."""
        folders = [folder for state in FORMER for folder in (self.folder / state).iterdir()]
        return [Job(folder) for folder in folders if not folder.name.startswith(".")]

    def put_by(self, job: Job) -> Job:
        """Keep a series that is not segmented by itself."""
        job.note(finished=time.time(), count=job.count)
        with self._moving:
            _move_all(job.earlier, job.images)
        return self._move(job, "kept")

    def again(self, job: Job) -> None:
        """Let a series that was segmented or set aside be segmented once more."""
        with self._moving:
            moved = self._move(job, "waiting")
            for result in moved.results:
                result.unlink()
            moved.note(attempts=0, not_before=0, error="")

    def prune(self, spare: int = 0) -> None:
        """Remove kept images that are too old or too many, and as many bytes more as are asked for."""
        with self._moving:
            kept = sorted(map(Job, (self.folder / "kept").iterdir()), key=_finished)
            sizes = [
                sum(file.stat().st_size for file in job.folder.rglob("*") if file.is_file()) for job in kept
            ]
            left, oldest = sum(sizes), time.time() - self._kept_seconds
            most = min(self._kept_bytes, max(left - spare, 0))
            for job, size in zip(kept, sizes, strict=True):
                if left > most or _finished(job) < oldest:
                    shutil.rmtree(job.folder, ignore_errors=True)
                    left -= size

    def give_up(self, job: Job, error: str) -> None:
        """Set a series aside."""
        job.note(error=error, part=job.state)
        self._move(job, "failed")

    def take_up(self) -> int:
        """Let everything that was set aside be tried again; how many."""
        jobs = self.jobs("failed")
        for job in jobs:
            job.note(attempts=0, not_before=0)
            self._move(job, "sending" if job.notes().get("part") == "sending" else "waiting")
        return len(jobs)

    def done(self) -> Iterator[dict[str, Any]]:
        """What became of the latest series, the latest first."""
        for file in self._records():
            with suppress(FileNotFoundError):  # just replaced by a later one
                yield {"series": file.stem, **json.loads(file.read_text(encoding="utf-8"))}

    def _records(self) -> list[Path]:
        files = [file for file in (self.folder / "done").glob("*.json") if not file.name.startswith(".")]
        return sorted(files, key=lambda file: file.stat().st_mtime, reverse=True)

    def _make_room(self, size: int) -> None:
        """See that the disk has space for so many bytes and those that results need.

        Raises:
            OSError: If it has not, even without the kept images.
        """
        for again in (True, False):
            disk = shutil.disk_usage(self.folder)
            lacking = size + min(SPARE_BYTES, disk.total // 20) - disk.free
            if lacking <= 0:
                return
            if again:
                self.prune(lacking)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _move(self, job: Job, state: State | Literal["kept"]) -> Job:
        target = self.folder / state / job.uid
        with self._moving:
            try:
                if target.exists():  # the same series was sent once more, and this is the newer one
                    shutil.rmtree(target)
                job.folder.replace(target)
                settle(target.parent)
            except OSError as error:
                raise OutputError(
                    target, f"cannot be moved there ({error.strerror})", "Is the disk full?"
                ) from error
        return Job(target)


def _move_all(source: Path, target: Path) -> None:
    """Move the images of a folder into another, in place of those with the same names."""
    if source.is_dir():
        target.mkdir(exist_ok=True)
        for image in source.iterdir():
            image.replace(target / image.name)
        source.rmdir()


def _finished(job: Job) -> float:
    return float(job.notes().get("finished", 0))


def _came(job: Job) -> float:
    with suppress(FileNotFoundError):  # moved on meanwhile
        return float(job.notes().get("received") or job.folder.stat().st_mtime)
    return 0.0

"""The queue of the listener: folders on disk, so that neither a kill nor a crash loses a series.

    QUEUE/receiving/UID/images/SOP.dcm      a series that is being received, by its SeriesInstanceUID
    QUEUE/waiting/UID/images/SOP.dcm        a whole series, to be segmented
    QUEUE/sending/UID/*.dcm                 the results, to be sent
    QUEUE/failed/UID/                       what was given up, with all that is needed to try again
    QUEUE/done/UID.json                     what became of a series; the latest `RECORDS` are kept

A series moves from one folder to the next by a rename. What is known of it is in `job.json` beside its files.
No name holds anything about the patient.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, Final, Literal

from diffcl.errors import OutputError
from diffcl.files import not_written, write_bytes, write_text

State = Literal["receiving", "waiting", "sending", "failed"]

STATES: Final[tuple[State, ...]] = ("receiving", "waiting", "sending", "failed")

FIRST_WAIT: Final = 10.0
"""Seconds before something is tried again; each further wait is twice as long."""

LONGEST_WAIT: Final = 600.0
"""Seconds; no wait is longer."""

MOST_ATTEMPTS: Final = 150
"""Then it is given up: after a day of waiting."""

RECORDS: Final = 1000


class Job:
    """A series in the queue.

    Attributes:
        folder: Where it is now.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def uid(self) -> str:
        """Its SeriesInstanceUID."""
        return self.folder.name

    @property
    def state(self) -> str:
        """Which part of the queue it is in."""
        return self.folder.parent.name

    @property
    def images(self) -> Path:
        """Folder of the images that were received."""
        return self.folder / "images"

    @property
    def results(self) -> list[Path]:
        """The objects to be sent."""
        return sorted(self.folder.glob("*.dcm"))

    def notes(self) -> dict[str, Any]:
        """What is known of it."""
        try:
            found: dict[str, Any] = json.loads((self.folder / "job.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return {}
        return found

    def note(self, **more: Any) -> None:
        """Add to what is known of it."""
        write_text(self.folder / "job.json", json.dumps({**self.notes(), **more}))

    def begin(self) -> int:
        """Count an attempt before it is made, so that one that kills the process counts; which one it is."""
        attempts = int(self.notes().get("attempts", 0)) + 1
        wait = min(FIRST_WAIT * 2.0 ** (attempts - 1), LONGEST_WAIT)
        self.note(attempts=attempts, not_before=time.time() + wait)
        return attempts


class Queue:
    """A queue in a folder. One process writes; any may look.

    Args:
        folder: Where it is; made if missing.

    Raises:
        OutputError: If it cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._receiving = Lock()
        try:
            for name in (*STATES, "done"):
                (folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise not_written(folder, error) from error

    def receive(self, series: str, uid: str, content: bytes) -> None:
        """Keep an image; once this returns, it is on the disk.

        Raises:
            OutputError: If it cannot be written.
        """
        with self._receiving:
            folder = self.folder / "receiving" / series / "images"
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise not_written(folder, error) from error
            write_bytes(folder / f"{uid}.dcm", content)

    def complete(self, series: str) -> Job:
        """A series that has been received waits from now on; with its earlier images, if there are any waiting.

        Raises:
            OutputError: If it cannot be moved.
        """
        with self._receiving:
            source, target = (self.folder / state / series for state in ("receiving", "waiting"))
            try:
                if target.exists():
                    (target / "images").mkdir(exist_ok=True)
                    for image in (source / "images").iterdir():
                        image.replace(target / "images" / image.name)
                    shutil.rmtree(source)
                else:
                    source.replace(target)
            except OSError as error:
                raise not_written(target, error) from error
            job = Job(target)
            job.note(
                received=time.time(), count=len(list(job.images.glob("*.dcm"))), attempts=0, not_before=0
            )
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
        """The results of a series are there, so its images go, and the results wait to be sent."""
        job.note(attempts=0, not_before=0, error="")
        moved = self._move(job, "sending")
        shutil.rmtree(moved.images, ignore_errors=True)
        return moved

    def sent(self, job: Job) -> None:
        """The results were sent: only a record stays."""
        record = {**job.notes(), "finished": time.time()}
        write_text(self.folder / "done" / f"{job.uid}.json", json.dumps(record))
        shutil.rmtree(job.folder, ignore_errors=True)
        for old in self._records()[RECORDS:]:
            old.unlink(missing_ok=True)

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

    def _move(self, job: Job, state: State) -> Job:
        target = self.folder / state / job.uid
        try:
            if target.exists():  # the same series was sent once more, and this is the newer one
                shutil.rmtree(target)
            job.folder.replace(target)
        except OSError as error:
            raise OutputError(
                target, f"cannot be moved there ({error.strerror})", "Is the disk full?"
            ) from error
        return Job(target)


def _came(job: Job) -> float:
    with suppress(FileNotFoundError):  # moved on meanwhile
        return float(job.notes().get("received") or job.folder.stat().st_mtime)
    return 0.0

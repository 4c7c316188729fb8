"""Series that come one after the other and are together one scan, told by study and description.

The first sequence is the job that is segmented. The others are kept beside the images of series that are done, until
their first sequence comes or, where it was segmented without them, is taken up again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from diffcl.errors import ScanError
from diffcl.io.dicom.choice import fits
from diffcl.io.dicom.headers import read_header
from diffcl.io.read import read_scan
from diffcl.io.scan import Scan
from diffcl.listener.job import Job
from diffcl.listener.queue import Queue
from diffcl.recipe import ImageSequence

REQUIRED_SECONDS: Final = 600.0
"""How long a further sequence that is required is waited for after the first one has come."""

OPTIONAL_SECONDS: Final = 60.0
"""How long a further sequence that may be absent is waited for after the first one has come."""

ASK_AGAIN: Final = 10.0
"""Seconds before it is looked again whether another one has come."""


class Cases:
    """What belongs together in a queue.

    Args:
        queue: Of a listener.
        sequences: Of its model, at least one.
    """

    def __init__(self, queue: Queue, sequences: Sequence[ImageSequence]) -> None:
        self._queue = queue
        self._sequences = sequences

    def is_first(self, job: Job) -> bool:
        """Whether a series is the first sequence, as its first image says; what is known of it is noted.

        Raises:
            ScanError: If no image can be read, or the series fits two sequences.
        """
        if "sequence" not in job.notes():
            header = read_header(next(iter(sorted(job.images.glob("*.dcm"))))).header
            found = [one.name for one in self._sequences if fits(one, header)]
            if len(found) > 1:
                raise ScanError(
                    job.images, f"fits {' and '.join(found)}", "Narrow their patterns in the recipe"
                )
            job.note(sequence=found[0] if found else "", study=str(header.get("StudyInstanceUID", "")))
        return str(job.notes()["sequence"]) == self._sequences[0].name

    def put_by(self, job: Job) -> str:
        """Keep a series that is not the first sequence, and take up again the first one that it belongs to.

        Returns:
            What became of it, for people.
        """
        name = str(job.notes()["sequence"])
        job = self._queue.put_by(job)
        if not name:
            return "is no sequence of the model"
        first = self._others(job).get(self._sequences[0].name)
        if first is None:
            return f"is {name}, kept for {self._sequences[0].name}"
        if first.state != "waiting":
            self._queue.again(first)
        else:
            first.note(not_before=0)
        return f"is {name}, joins series {first.uid}"

    def awaited(self, job: Job) -> list[str]:
        """Names of the further sequences of a first one that may still come."""
        there, passed = self._others(job), time.time() - float(job.notes().get("received", 0))
        return [
            one.name
            for one in self._sequences[1:]
            if one.name not in there and passed < (REQUIRED_SECONDS if one.required else OPTIONAL_SECONDS)
        ]

    def images(self, job: Job, first: Scan) -> dict[str, Scan]:
        """The images of a scan by the names of their sequences, as far as they are there.

        Raises:
            ScanError: If one cannot be used.
        """
        found = {self._sequences[0].name: first}
        for name, other in self._others(job).items():
            found[name] = read_scan(other.images, series_uid=other.uid)
        return found

    def _others(self, job: Job) -> dict[str, Job]:
        """The other sequences of a study; of several series for one, that which came last."""
        study, found = job.notes().get("study"), {}
        every = [other for other in self._queue.all() if other.uid != job.uid]
        for other in sorted(every, key=lambda one: float(one.notes().get("received", 0))):
            notes = other.notes()
            if notes.get("sequence") and notes.get("study") == study:
                found[str(notes["sequence"])] = other
        return found

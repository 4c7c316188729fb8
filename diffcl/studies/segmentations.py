"""What is known of the segmentations in an archive, asked for once each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import SegmentationStorage

from diffcl.errors import GoneError
from diffcl.files import make_folder, write_text
from diffcl.io.dicom.damage import DAMAGED, is_damage, items
from diffcl.io.dicom.seg_read import class_of, is_unknown
from diffcl.io.dicomweb.client import Archive
from diffcl.io.dicomweb.entries import SeriesEntry, is_uid
from diffcl.recipe import Recipe
from diffcl.studies.content_time import UNDATED, moment

KEPT = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SeriesDescription", "ContentDate",
    "ContentTime", "TimezoneOffsetFromUTC", "SegmentationType", "SegmentSequence", "ReferencedSeriesSequence",
)  # fmt: skip
"""All that is kept of a segmentation's header: nothing about the patient."""


@dataclass(frozen=True)
class Segmentation:
    """A segmentation in an archive.

    Attributes:
        uid: SOPInstanceUID.
        series: Its own SeriesInstanceUID.
        study: StudyInstanceUID.
        image: SeriesInstanceUID of what it segments.
        made: When, in UTC; see `diffcl.studies.content_time`.
        title: Description of its series.
        binary: Whether it is a label, not a map of probabilities.
        by_model: Whether a model made it alone.
        segments: Items of the SegmentSequence.
    """

    uid: str
    series: str
    study: str
    image: str
    made: datetime
    title: str
    binary: bool
    by_model: bool
    segments: tuple[Dataset, ...] = field(repr=False)

    @property
    def time(self) -> str:
        """When it was made, for people; empty where it does not say."""
        return "" if self.made == UNDATED else self.made.isoformat(timespec="seconds")

    def task(self, tasks: Sequence[Recipe]) -> Recipe | None:
        """The first task whose classes all its segments are; None for none."""
        for task in tasks:
            drawn = self.drawn(task)
            if drawn and all(class_of(one, task.labels) for one in drawn):
                return task
        return None

    def drawn(self, task: Recipe) -> list[Dataset]:
        """The segments without that of what nobody has decided."""
        return [one for one in self.segments if not is_unknown(one, task.labels)]

    def tasks(self, tasks: Sequence[Recipe]) -> list[Recipe]:
        """The task whose classes all its segments are, else the tasks that are needed to know them; none for none."""
        whole = self.task(tasks)
        if whole is not None:
            return [whole]
        known = [
            (task, {place for place, one in enumerate(self.segments) if class_of(one, task.labels)})
            for task in tasks
        ]
        found, left = [], {place for place, one in enumerate(self.segments) if not is_unknown(one, ())}
        while left and known:
            task, places = max(known, key=lambda one: len(left & one[1]))
            if not left & places:
                return []
            found.append(task)
            left -= places
        return found


class Segmentations:
    """The segmentations of an archive.

    They never change once stored, so what was learned of them is kept, in a file for each of their series.

    Args:
        folder: Where that is.
        archive: Where they are.
    """

    def __init__(self, folder: Path, archive: Archive) -> None:
        self._folder = folder
        self._archive = archive
        self._known: dict[str, tuple[int, list[Segmentation]]] = {}

    def of(self, entries: Sequence[SeriesEntry]) -> list[Segmentation]:
        """The segmentations in some series, oldest first; what cannot be understood is left out.

        Raises:
            ArchiveError: If the archive cannot be asked.
        """
        found = [one for entry in entries for one in self._in(entry)]
        return sorted(found, key=lambda one: (one.made, one.uid))

    def remember(self, header: Dataset) -> None:
        """Keep what is known of one that was just stored, alone in its series."""
        kept = Dataset()
        for keyword in KEPT:
            if keyword in header:
                kept[keyword] = header[keyword]
        self._keep(str(header.SeriesInstanceUID), [kept.to_json_dict()])

    def _in(self, entry: SeriesEntry) -> list[Segmentation]:
        count, found = self._known.get(entry.uid, (0, []))
        if count == 0 or entry.images not in (None, count):
            headers = self._read(entry.uid)
            if not headers or entry.images not in (None, len(headers)):
                try:
                    headers = self._archive.describe(entry.study, entry.uid, KEPT)
                except GoneError:
                    return []
                self._keep(entry.uid, headers)
            found = [one for header in headers if (one := read(header))]
            self._known[entry.uid] = len(headers), found
        return found

    def _file(self, series: str) -> Path:
        return self._folder / f"{series}.json"

    def _read(self, series: str) -> list[dict[str, Any]]:
        try:
            known: Any = json.loads(self._file(series).read_bytes())
        except (OSError, ValueError, RecursionError):
            return []
        return known if isinstance(known, list) and all(isinstance(one, dict) for one in known) else []

    def _keep(self, series: str, headers: list[dict[str, Any]]) -> None:
        for header in headers:  # of what it refers to, the series is enough
            for one in header.get("00081115", {}).get("Value", ()):
                one.pop("0008114A", None)
        make_folder(self._folder)
        write_text(self._file(series), json.dumps(headers))


def read(header: dict[str, Any]) -> Segmentation | None:
    """A segmentation from its header in DICOM JSON; None for anything else."""
    try:
        one = Dataset.from_json(header)
        if one.SOPClassUID != SegmentationStorage or not is_uid(one.SOPInstanceUID):
            return None
        segments, references = items(one, "SegmentSequence"), items(one, "ReferencedSeriesSequence")
        if not references:
            return None
        return Segmentation(
            uid=str(one.SOPInstanceUID),
            series=str(one.SeriesInstanceUID),
            study=str(one.StudyInstanceUID),
            image=str(references[0].SeriesInstanceUID),
            made=moment(one),
            title=str(one.get("SeriesDescription", "")),
            binary=one.SegmentationType == "BINARY",
            by_model=all(item.get("SegmentAlgorithmType") == "AUTOMATIC" for item in segments),
            segments=tuple(segments),
        )
    except DAMAGED as error:
        if not is_damage(error):
            raise
        return None

"""What a DICOM archive has: the series that are scans, and their labels."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from diffcl.errors import DiffclError
from diffcl.io.dicomweb.client import Archive
from diffcl.io.dicomweb.entries import SeriesEntry
from diffcl.recipe import Recipe
from diffcl.studies.archive_cases import companions, scans_of
from diffcl.studies.segmentations import Segmentation, Segmentations

MODALITIES = ("CT", "MR")

FRESH_SECONDS = 1.0
"""Time before which an archive is not asked again for what it has."""

REST = 10
"""An archive is not asked again before so many times as long has passed as asking took."""

STUDY_LEVEL = ("Study", "Patient", "Accession")
"""Beginnings of the attributes that a series and its segmentation share."""


@dataclass(frozen=True)
class View:
    """What the archive has.

    Attributes:
        series: The scans by SeriesInstanceUID.
        labels: The labels by people of each scan that has any, oldest first.
        others: The further sequences of each scan that has any.
    """

    series: dict[str, SeriesEntry] = field(default_factory=dict)
    labels: dict[str, list[Segmentation]] = field(default_factory=dict)
    others: dict[str, list[SeriesEntry]] = field(default_factory=dict)


class ArchiveContents:
    """What an archive has, asked for when somebody wants to know, but not again and again.

    Args:
        archive: The archive.
        segmentations: What is known of its segmentations.
        tasks: Gives the recipes whose classes labels may hold.
        filters: What else the series must match, as in QIDO-RS; `Modality` replaces MR and CT.

    Attributes:
        delay: Seconds, at most, until what others have stored is seen, by how long the last answer took.
    """

    def __init__(
        self,
        archive: Archive,
        segmentations: Segmentations,
        tasks: Callable[[], Sequence[Recipe]],
        filters: Mapping[str, Any] | None = None,
    ) -> None:
        self._archive = archive
        self._segmentations = segmentations
        self._tasks = tasks
        self._filters = dict(filters or {})
        self._view = View()
        self._refusal: DiffclError | None = None
        self._asked_again_at = 0.0
        self._refreshed = 0
        self._seen = -1
        self._asking = Lock()
        self.delay = FRESH_SECONDS

    def refresh(self) -> None:
        """Ask the archive again when something is asked next."""
        self._refreshed += 1
        self._asked_again_at = 0.0

    def now(self) -> View:
        """What the archive has now, or had a moment ago.

        Nobody waits while somebody else asks, unless something was stored since the last answer.

        Raises:
            ArchiveError: If the archive fails.
        """
        known = self._refusal is not None or self._seen == self._refreshed
        if self._asking.acquire(blocking=not known):
            try:
                if time.monotonic() >= self._asked_again_at:
                    self._update()
            finally:
                self._asking.release()
        refusal = self._refusal
        if refusal:
            raise copy(refusal)
        return self._view

    def _update(self) -> None:
        """Ask the archive, and rest the longer the more time that took."""
        began, refreshed = time.monotonic(), self._refreshed
        try:
            self._view = self._ask()
        except DiffclError as error:
            self._refusal = error
            rest = 1
        else:
            self._seen, self._refusal, rest = refreshed, None, REST
        now = time.monotonic()
        self.delay = max(FRESH_SECONDS, rest * (now - began)) + now - began
        stored_meanwhile = refreshed != self._refreshed
        if self._refusal or not stored_meanwhile:
            self._asked_again_at = now + max(FRESH_SECONDS, rest * (now - began))

    def _ask(self) -> View:
        only = self._filters.get("Modality")
        tasks = self._tasks()
        more = {one.modality for task in tasks for one in task.sequences} - {None, only, *MODALITIES}
        every = {
            entry.uid: entry
            for modality in ([only] if only else [*MODALITIES, *sorted(map(str, more))])
            for entry in self._archive.search({**self._filters, "Modality": modality})
        }
        whole = {uid: entry for uid, entry in every.items() if entry.modality not in more}
        series = scans_of(whole, tasks)
        shared = {key: value for key, value in self._filters.items() if key.startswith(STUDY_LEVEL)}
        found = self._segmentations.of(self._archive.search({**shared, "Modality": "SEG"}))
        labels: dict[str, list[Segmentation]] = {}
        for one in found:
            if one.image in series and one.binary and not one.by_model and one.tasks(tasks):
                labels.setdefault(one.image, []).append(one)
        others = {}
        if any(task.sequences for task in tasks):
            others = {uid: companions(entry, every.values(), tasks) for uid, entry in series.items()}
        return View(dict(sorted(series.items())), labels, {uid: some for uid, some in others.items() if some})

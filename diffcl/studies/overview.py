"""Where an annotation project stands: the state of every scan, and everything that was submitted, when and by whom."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean
from typing import Any, Final, Literal

from diffcl.studies.agreement import author, mean_dice
from diffcl.studies.label_changes import DRAWN
from diffcl.studies.label_tags import FINAL, ORIGINAL
from diffcl.studies.protocol import Studies
from diffcl.studies.review import Status, review_of

State = Literal["waiting", "proposed", "submitted", "approved", "flagged", "unusable"]

STATES: Final[tuple[State, ...]] = ("waiting", "proposed", "submitted", "approved", "flagged", "unusable")
"""From nothing to reviewed: without a label, proposed by a model, submitted, and what a reviewer said of it."""


@dataclass(frozen=True)
class LabelEvent:
    """One version of a label of a person, or the removal of one.

    Attributes:
        image: Id of the scan.
        version: Its number; 0 where the label was put there by hand.
        time: When, ISO 8601; empty where that is not known.
        by: Who; empty where that is not known.
        removed: Whether the label was removed.
        task: Name of its task; empty where that is not known.
        status: What a reviewer said.
        changed_voxels: How many differ from the former label; None where that is not known.
        model: That proposed what the person began with; empty for none.
        model_version: Its version; 0 for none.
        dice: Mean over the classes of the Dice between that proposal and this label, 0..1; None without one.
        agreement: Mean Dice with the newest label of somebody else, 0..1; None where nobody else outlined the scan.
        classes: The Dice between that proposal and this label, by class.
        drawn: How much of the label is drawn, for people; empty where all of it is.
        compared: Version of the label with which it agrees so far; 0 where that is not known.
        compared_by: Who made that one; empty where that is not known.
        reviewer: Who reviewed it; empty where that is not known.
        comment: What the reviewer said.
    """

    image: str
    version: int
    time: str
    by: str
    removed: bool = False
    task: str = ""
    status: Status = "submitted"
    changed_voxels: int | None = None
    model: str = ""
    model_version: int = 0
    dice: float | None = None
    agreement: float | None = None
    classes: Mapping[str, float] = field(default_factory=dict)
    drawn: str = ""
    compared: int = 0
    compared_by: str = ""
    reviewer: str = ""
    comment: str = ""

    @classmethod
    def of(cls, image: str, record: Mapping[str, Any]) -> LabelEvent:
        """What the record of a version says. Clients may have written anything into it."""
        version, began = record.get("version"), record.get("started_from")
        began = began if isinstance(began, dict) else {}
        changes = began.get("changes")
        scores = {
            str(name): float(one["dice"])
            for name, one in (changes.items() if isinstance(changes, dict) else ())
            if isinstance(one, dict) and isinstance(one.get("dice"), int | float)
        }
        changed, proposed_by = record.get("changed_voxels"), began.get("version")
        agreement, review = record.get("agreement"), review_of(record)
        other = agreement if isinstance(agreement, dict) else {}
        compared = other.get("with_version")
        return cls(
            image,
            version if isinstance(version, int) else 0,
            str(record.get("time") or ""),
            author(record),
            record.get("removed") is True,
            str(record.get("task") or ""),
            review.status,
            changed if isinstance(changed, int) else None,
            str(began.get("model") or "") if scores else "",
            proposed_by if scores and isinstance(proposed_by, int) else 0,
            mean(scores.values()) if scores else None,
            mean_dice(record) if other else None,
            scores,
            str(record.get(DRAWN) or "")[:200],
            compared if isinstance(compared, int) else 0,
            str(other.get("with_author") or ""),
            review.approved_by,
            review.comment,
        )

    @property
    def day(self) -> str:
        """The day, as in 2026-01-31; empty where it is not known."""
        return self.time[:10]


@dataclass(frozen=True)
class ProposalNote:
    """What is noted of the last proposal for a scan.

    Attributes:
        model: That made it.
        version: Its version.
        task: Whose classes it has.
        summary: The volumes, in a line.
        warnings: What was odd.
    """

    model: str = ""
    version: str = ""
    task: str = ""
    summary: str = ""
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> ProposalNote | None:
        """What the notes on a scan say, into which clients may have written anything; None where there was none."""
        about = info.get("proposal")
        if not isinstance(about, dict):
            return None
        model, version, task, summary = (
            str(about.get(key) or "") for key in ("model", "version", "task", "summary")
        )
        warnings = about.get("warnings")
        told = tuple(str(one) for one in warnings) if isinstance(warnings, list) else ()
        return cls(model, version, task, summary, told)


@dataclass(frozen=True)
class ScanState:
    """Where a scan stands.

    Attributes:
        image: Its id.
        state: See `STATES`.
        versions: How many labels were submitted for it.
        by: Who sent the newest one; empty where that is not known.
        time: When, ISO 8601; empty where that is not known.
        why: Why it is unusable; empty where it is not.
        drawn: How much of its label is drawn, for people; empty where all of it is.
        proposal: The last one for it; None where there was none.
    """

    image: str
    state: State
    versions: int = 0
    by: str = ""
    time: str = ""
    why: str = ""
    drawn: str = ""
    proposal: ProposalNote | None = None


@dataclass(frozen=True)
class Overview:
    """Where a project stands.

    Attributes:
        name: Of the studies.
        scans: Every scan, by its id.
        events: Every version of a label, oldest first.
    """

    name: str = ""
    scans: Mapping[str, ScanState] = field(default_factory=dict)
    events: Sequence[LabelEvent] = ()

    @property
    def counts(self) -> dict[State, int]:
        """How many scans are in each state, in the order of `STATES`."""
        found = Counter(scan.state for scan in self.scans.values())
        return {state: found[state] for state in STATES}

    @property
    def labelled(self) -> int:
        """How many scans have a label of a person."""
        return sum(self.counts[state] for state in ("submitted", "approved", "flagged"))

    @property
    def partly_drawn(self) -> int:
        """How many of these labels are partly drawn."""
        return sum(bool(scan.drawn) for scan in self.scans.values())

    def per_day(self) -> dict[str, dict[str, int]]:
        """How many labels each person submitted on each day, the newest day first; removals do not count."""
        found: dict[str, Counter[str]] = {}
        for event in self.events:
            if event.day and not event.removed:
                found.setdefault(event.day, Counter())[event.by] += 1
        return {day: dict(found[day].most_common()) for day in sorted(found, reverse=True)}

    def of(self, image: str) -> list[LabelEvent]:
        """The versions of the label of a scan, oldest first."""
        return sorted(
            (event for event in self.events if event.image == image), key=lambda event: event.version
        )


class OverviewReader:
    """Reads where a project stands, of every scan only what has changed since the last time. Not safe in threads.

    Args:
        studies: The project.
    """

    def __init__(self, studies: Studies) -> None:
        self._studies = studies
        self._known: dict[str, tuple[object, tuple[LabelEvent, ...]]] = {}

    def read(self, failures: Mapping[str, str] | None = None) -> Overview:
        """Where the project stands now.

        Args:
            failures: Why scans could not be used when that was last tried, by their ids.

        Raises:
            ArchiveError: If an archive is behind it that fails.
        """
        content = self._studies.content(older=False)
        objects: Mapping[str, Mapping[str, Any]] = content["objects"]
        self._known = {image: one for image, one in self._known.items() if image in objects}
        scans: dict[str, ScanState] = {}
        events: list[LabelEvent] = []
        for image, entry in objects.items():
            found = self._events(image, entry)
            events += found
            scans[image] = _state(image, entry, found, (failures or {}).get(image, ""))
        events.sort(key=lambda event: (event.time, event.image, event.version))
        return Overview(str(content.get("name", "")), scans, tuple(events))

    def _events(self, image: str, entry: Mapping[str, Any]) -> tuple[LabelEvent, ...]:
        mark = self._studies.versions_mark(image)
        known = self._known.get(image)
        if known is None or mark is None or known[0] != mark:
            records = self._studies.label_versions(image)
            known = mark, tuple(LabelEvent.of(image, record) for record in records)
            self._known[image] = known
        if known[1] or FINAL not in entry["labels"]:
            return known[1]
        return (LabelEvent.of(image, entry["labels"][FINAL]["info"]),)


def _state(image: str, entry: Mapping[str, Any], events: Sequence[LabelEvent], failure: str) -> ScanState:
    """Where a scan stands by what the index and its versions say."""
    info, labels = entry["image"]["info"], entry["labels"]
    last = events[-1] if events else LabelEvent(image, 0, "", "")
    submitted = sum(not event.removed for event in events)
    proposal = ProposalNote.of(info)
    if FINAL in labels:
        record = labels[FINAL]["info"]
        drawn = str(record.get(DRAWN) or "")[:200]
        status = review_of(record).status
        return ScanState(image, status, submitted, last.by, last.time, drawn=drawn, proposal=proposal)
    why = failure or str(info.get("unusable") or "")
    if why:
        return ScanState(image, "unusable", submitted, last.by, last.time, why, proposal=proposal)
    state: State = "proposed" if proposal or ORIGINAL in labels else "waiting"
    return ScanState(image, state, submitted, last.by, last.time, proposal=proposal)

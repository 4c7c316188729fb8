"""Series of an archive that are together one scan: the first sequence of a task, and the others of its study."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from diffcl.io.dicomweb.entries import SeriesEntry
from diffcl.recipe import Recipe


def scans_of(series: Mapping[str, SeriesEntry], tasks: Sequence[Recipe]) -> dict[str, SeriesEntry]:
    """The series that are scans: all of them for a task of one sequence, else those that are the first of one.

    Args:
        series: By SeriesInstanceUID.
        tasks: What is served.
    """
    if not tasks or any(not task.sequences for task in tasks):
        return dict(series)
    return {uid: entry for uid, entry in series.items() if any(_fits(task, 0, entry) for task in tasks)}


def companions(
    entry: SeriesEntry, series: Iterable[SeriesEntry], tasks: Iterable[Recipe]
) -> list[SeriesEntry]:
    """The further sequences of a scan, by UID: series of its study that any task takes beside it.

    Args:
        entry: The first sequence.
        series: All that there are.
        tasks: What is served.
    """
    several = [task for task in tasks if task.sequences and _fits(task, 0, entry)]
    found = {
        other.uid: other
        for other in series
        if other.study == entry.study and other.uid != entry.uid
        for task in several
        if any(_fits(task, number, other) for number in range(1, task.channels))
    }
    return [found[uid] for uid in sorted(found)]


def _fits(task: Recipe, number: int, entry: SeriesEntry) -> bool:
    """Whether a series is of a sequence of a task, as far as the archive's answer tells."""
    sequence = task.sequences[number]
    return sequence.modality in (None, entry.modality) and sequence.matches(entry.description)

"""What an annotator changed in a proposal."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from diffcl.data.partly_drawn import drawn_in_words, without_unknown
from diffcl.errors import GoneError, ScanError
from diffcl.geometry import Geometry, same_grid, voxels
from diffcl.io import read_label
from diffcl.labels import UNKNOWN
from diffcl.studies.drawn_part import listed
from diffcl.studies.label_check import Proposal, Submission
from diffcl.studies.label_parts import TaskLabel, combined, with_hidden
from diffcl.studies.label_tags import FINAL, FINAL_OF, ORIGINAL
from diffcl.studies.notes import of_a_client

if TYPE_CHECKING:
    from diffcl.studies.protocol import Studies

logger = logging.getLogger(__name__)

DRAWN: Final = "drawn"
"""Field of the record of a partly drawn label that says how much of it is drawn, for people."""

IN_PART: Final = "drawn in part"
"""What is told of a partly drawn label by other software, which does not say how much of it is drawn."""


def compare(
    before: NDArray[Any], after: NDArray[Any], classes: Mapping[str, int]
) -> dict[str, dict[str, float]]:
    """Of each class the voxels that were added and removed, and the Dice of before and after, where both are known.

    >>> import numpy as np
    >>> compare(np.array([1, 1, 1, 0, 2]), np.array([1, 1, 0, 1, 2]), {"head": 1, "tail": 2})["head"]
    {'added': 1, 'removed': 1, 'dice': 0.6667}

    Args:
        before: Class values.
        after: Class values, same shape.
        classes: Name and value of each class. One that is in neither has a Dice of 1.
    """
    found: dict[str, dict[str, float]] = {}
    before, after = without_unknown(before, after)
    for name, value in classes.items():
        one, other = before == value, after == value
        both, total = int((one & other).sum()), int(one.sum() + other.sum())
        found[name] = {
            "added": int(other.sum()) - both,
            "removed": int(one.sum()) - both,
            "dice": round(2 * both / total, 4) if total else 1.0,
        }
    return found


def proposal_of(about: object, read: Callable[[], sitk.Image | None], grid: Geometry) -> Proposal | None:
    """What was last proposed for a scan; without its label where that is gone or the scan is another.

    Args:
        about: The note `proposal` on the scan; clients may have written anything in its place.
        read: Reads the proposed label; None or a `ScanError` if it is gone.
        grid: Of the scan.
    """
    if not isinstance(about, dict) or not about:
        return None
    label = None
    try:
        image = read()
        if image is not None and same_grid(Geometry.of(image), grid):
            label = voxels(image)
    except ScanError as error:
        logger.warning(str(error))
    return Proposal(label, str(about.get("task")), about.get("marked") is True)


def new_parts(
    parts: Sequence[Submission], former: Callable[[str], sitk.Image | None]
) -> Sequence[Submission]:
    """Of the labels of several tasks that came as one map, those that are not as they were before.

    What another part of the map hid is put back, see `with_hidden`.

    Args:
        parts: The labels; a single one is new whatever it is.
        former: Gives the label that the scan has for a task; None for none.
    """
    if len(parts) < 2:
        return parts
    new = {str(part.task): voxels(part.label) for part in parts}
    old = {task: voxels(label) for task in new if (label := former(task)) is not None}
    old = {task: values for task, values in old.items() if values.shape == new[task].shape}
    whole = with_hidden(new, old)
    found = []
    for part in parts:
        values, grid = whole[str(part.task)], Geometry.of(part.label)
        if part.task not in old or not np.array_equal(values, old[part.task]):
            drawn = drawn_in_words(values, grid)
            found.append(
                replace(part, label=grid.place(values), drawn=drawn, classes=listed(part.classes, drawn))
            )
    return found or parts[:1]


def joined(parts: Sequence[Submission]) -> Submission:
    """The labels of several tasks that came as one map as one again, of no single task; a single one as it is."""
    if len(parts) == 1:
        return parts[0]
    label, classes = combined([TaskLabel(str(part.task), part.label, part.classes) for part in parts])
    return Submission(label, None, classes, parts[0].remark)


def record_of_all(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What is told of the labels of one map: the last record; of several tasks, in `stored` the version of each."""
    stored = {str(record["task"]): record.get("version") for record in records}
    return {**records[-1], "stored": stored} if len(records) > 1 else records[-1]


def label_record(
    params: Mapping[str, Any],
    found: Submission,
    about: object,
    proposal: Proposal | None,
    changed_voxels: int | None,
) -> dict[str, Any]:
    """What is written down about an accepted label.

    Args:
        params: What the client said.
        found: What the check found.
        about: The note `proposal` on the scan.
        proposal: What was proposed.
        changed_voxels: Voxels that differ from the former label; None where there was none.
    """
    return {
        **of_a_client(params),
        **({DRAWN: found.drawn} if found.drawn else {}),
        "label_info": found.classes,
        "task": found.task,
        "remark": found.remark,
        "changed_voxels": changed_voxels,
        "started_from": started_from(about if isinstance(about, dict) else None, found, proposal),
    }


def started_from(
    about: dict[str, Any] | None, found: Submission, proposal: Proposal | None
) -> dict[str, Any] | None:
    """What is known of the proposal and, where the label is of the same task, what was changed in it."""
    if about is None or proposal is None or proposal.label is None or found.task != proposal.task:
        return about
    classes = {entry["name"]: entry["idx"] for entry in found.classes if entry["idx"] != UNKNOWN}
    return {**about, "changes": compare(proposal.label, voxels(found.label), classes)}


def in_words(began: Mapping[str, Any] | None) -> str:
    """What was changed in a proposal, for people; empty where that is not known.

    >>> changes = {"head": {"added": 12, "removed": 3, "dice": 0.9712}, "tail": {"added": 0, "removed": 0, "dice": 1.0}}
    >>> in_words({"model": "organ", "version": 3, "changes": changes})
    'Changed in the proposal of organ version 3: head 12 voxels added, 3 removed, Dice 0.97; tail nothing'

    Args:
        began: What `started_from` gave.
    """
    if not began or not began.get("changes"):
        return ""
    told = [
        f"{name} {change['added']} voxels added, {change['removed']} removed, Dice {change['dice']:.2f}"
        if change["added"] or change["removed"]
        else f"{name} nothing"
        for name, change in began["changes"].items()
    ]
    return f"Changed in the proposal of {began['model']} version {began['version']}: {'; '.join(told)}"


def changed_voxels(studies: Studies, image_id: str, found: Submission) -> int | None:
    """Voxels in which a label differs from the final one of its task, else from the original one, where it is known.

    None without either, and where it cannot be read, is gone, or is of another size.
    """
    tag = f"{FINAL_OF}{found.task}" if found.task else FINAL
    try:
        file = studies.label_path(image_id, tag) or studies.label_path(image_id, ORIGINAL)
        former = voxels(read_label(file)) if file else None
    except (ScanError, GoneError) as error:  # by other software, and not usable
        logger.warning(f"The former label of {image_id} cannot be compared: {error}")
        return None
    now = voxels(found.label)
    if former is None or former.shape != now.shape:
        return None
    return int(((former != now) & (now != UNKNOWN)).sum())

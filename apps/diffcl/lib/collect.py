"""From the studies to the cases of a training: who teaches, who judges, who is left out and why."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import Datastore, DefaultLabelTag

from diffcl.data.cases import Cases, LabelledCase, UnlabelledCase
from diffcl.data.prepare import prepare_case
from diffcl.errors import DataError, DiffclError
from diffcl.recipe import Recipe
from lib.datastore import StudyDatastore

FINAL = DefaultLabelTag.FINAL.value

ENOUGH_TO_JUDGE = 4
"""With fewer labelled scans all of them teach, and nobody can say how good the result is."""


@dataclass(frozen=True)
class Collected:
    """The cases of a training.

    Attributes:
        cases: Labelled, unlabelled and validation cases, all of them readable.
        refused: Why each scan that is left out is left out.
    """

    cases: Cases
    refused: dict[str, str]


def collect(datastore: Datastore, recipe: Recipe, share: float, cache: Path) -> Collected:
    """Find the cases of a task among the studies.

    Labelled are the scans whose final label is of this task; all others are unlabelled, whatever labels of
    other tasks they have. Of at least `ENOUGH_TO_JUDGE` labelled scans a share is kept for validation: those
    whose names have a digest below the share, so that a scan that once judged never teaches, and at least
    one.

    Args:
        datastore: The studies.
        recipe: The task.
        share: Share of the labelled scans for validation, 0..1.
        cache: Folder for prepared scans.

    Raises:
        DataError: If no labelled scan is left.
    """
    refused: dict[str, str] = {}
    labelled, unlabelled = [], []
    for image in sorted(datastore.list_images()):
        path = Path(datastore.get_image_uri(image))
        label = _label(datastore, image, recipe.name)
        case = UnlabelledCase(image, path) if label is None else LabelledCase(image, path, label)
        try:
            prepare_case(case, recipe, cache)
        except (DiffclError, OSError) as error:
            refused[image] = str(error)
            continue
        if isinstance(case, LabelledCase):
            labelled.append(case)
        else:
            unlabelled.append(case)
    if not labelled:
        why = f" ({'; '.join(refused.values())})" if refused else ""
        raise DataError(
            f"task {recipe.name}", f"no scan with a usable final label{why}", "Label one and submit it"
        )
    judges = _judges([case.name for case in labelled], share)
    cases = Cases(
        tuple(case for case in labelled if case.name not in judges),
        tuple(unlabelled),
        tuple(case for case in labelled if case.name in judges),
    )
    return Collected(cases, refused)


def _label(datastore: Datastore, image: str, task: str) -> Path | None:
    """The final label of a scan if it is of the task; the very version, which no later one replaces."""
    if FINAL not in datastore.get_labels_by_image_id(image):
        return None
    info: dict[str, Any] = datastore.get_label_info(image, FINAL)
    if info.get("task") not in (None, task):
        return None
    if isinstance(datastore, StudyDatastore) and info.get("version"):
        return datastore.history.label(image, info["version"])
    return Path(datastore.get_label_uri(image, FINAL))


def _judges(names: list[str], share: float) -> set[str]:
    """The names kept for validation."""
    if len(names) < ENOUGH_TO_JUDGE or share == 0:
        return set()
    digests = {name: int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 16**8 for name in names}
    chosen = {name for name, digest in digests.items() if digest < share}
    if len(chosen) == len(names):
        chosen.discard(max(digests, key=digests.__getitem__))
    return chosen or {min(digests, key=digests.__getitem__)}

"""From the studies to the scans of a training: who teaches, who judges, who is left out and why."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import HTTPException
from monailabel.interfaces.datastore import Datastore, DefaultLabelTag
from pydantic import BaseModel, ConfigDict, PlainSerializer, ValidationError

from diffcl.data.cache import TrainingScan, prepare_case
from diffcl.data.cases import Cases, LabelledCase, UnlabelledCase
from diffcl.errors import DataError, DiffclError
from diffcl.files import write_text
from diffcl.recipe import Recipe
from diffcl.training.scans import Scans
from diffcl.training.validation import ValidationScan, read_validation
from lib.datastore import StudyDatastore

FINAL = DefaultLabelTag.FINAL.value

ENOUGH_TO_JUDGE = 4
"""With fewer labelled scans all of them teach, and nobody can say how good the result is."""


@dataclass(frozen=True)
class Collected:
    """The scans of a training.

    Attributes:
        cases: Labelled, unlabelled and validation cases, all of them readable.
        scans: The same, read: what happens to their files from now on does no harm.
        refused: Why each scan that is left out is left out.
    """

    cases: Cases
    scans: Scans
    refused: dict[str, str]


Names = Annotated[frozenset[str], PlainSerializer(sorted)]


class Roles(BaseModel):
    """What the labelled scans of a task have been used for, in FOLDER/roles.json.

    Attributes:
        judged: Scans that have judged a result.
        taught: Scans that have taught with their label.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    judged: Names = frozenset()
    taught: Names = frozenset()

    @classmethod
    def read(cls, folder: Path) -> Roles:
        """The roles so far; none before the first training.

        Raises:
            DataError: If the file was damaged.
        """
        file = folder / "roles.json"
        try:
            return cls.model_validate_json(file.read_bytes()) if file.exists() else cls()
        except ValidationError as error:
            raise DataError(file.name, "is damaged", f"Restore or remove {file}") from error

    def write(self, folder: Path) -> None:
        """Keep them.

        Raises:
            OutputError: If the file cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "roles.json", self.model_dump_json(indent=2) + "\n")

    def choose(self, names: Sequence[str], share: float) -> set[str]:
        """The names kept for validation.

        Those that judged before, and of at least `ENOUGH_TO_JUDGE` names those that have not taught yet and have a
        digest below the share; at least one, and never all.

        >>> first = Roles().choose(["a", "b", "c", "d", "e"], 0.3)
        >>> first <= Roles(judged=first).choose(["a", "b", "c", "d", "e", "f", "g"], 0.1)
        True
        """
        chosen = set(names) & self.judged
        new = sorted(set(names) - self.judged - self.taught, key=_digest)
        if len(names) >= ENOUGH_TO_JUDGE and share > 0:
            chosen |= {name for name in new if _digest(name) < share}
            chosen = chosen or {next(iter(new), min(names, key=_digest))}
        if chosen and len(chosen) == len(names):
            chosen -= {max(chosen, key=lambda name: (name not in self.judged, _digest(name)))}
        return chosen


def collect(datastore: Datastore, recipe: Recipe, share: float, folder: Path) -> Collected:
    """Find and read the scans of a task among the studies.

    Labelled are the scans whose final label is of this task; all others are unlabelled, whatever labels of
    other tasks they have. Of at least `ENOUGH_TO_JUDGE` labelled scans a share is kept for validation; what each is
    used for is kept in `folder`, so that a scan that judged keeps judging, and one that taught keeps teaching. See
    `Roles.choose`.

    Args:
        datastore: The studies.
        recipe: The task.
        share: Share of the labelled scans for validation, 0..1.
        folder: Where the trainings of the task work; FOLDER/prepared keeps prepared scans.

    Raises:
        DataError: If no labelled scan is left.
        OutputError: If something cannot be kept.
    """
    refused: dict[str, str] = {}
    labelled: dict[LabelledCase, TrainingScan] = {}
    unlabelled: dict[UnlabelledCase, TrainingScan] = {}
    for image in sorted(datastore.list_images()):
        try:
            case = _case(datastore, image, recipe.name)
            scan = prepare_case(case, recipe, folder / "prepared")
        except (DiffclError, OSError) as error:
            refused[image] = str(error)
            continue
        except HTTPException as error:
            if error.status_code >= 500:  # the archive fails, not this scan
                raise
            refused[image] = str(error.detail)
            continue
        if isinstance(case, LabelledCase):
            labelled[case] = scan
        else:
            unlabelled[case] = scan
    roles = Roles.read(folder)
    chosen = roles.choose([case.name for case in labelled], share)
    validation = _read([case for case in labelled if case.name in chosen], recipe, refused)
    teachers = {case: scan for case, scan in labelled.items() if case.name not in chosen}
    if not teachers:
        why = f" ({'; '.join(refused.values())})" if refused else ""
        raise DataError(
            f"task {recipe.name}", f"no scan with a usable final label{why}", "Label one and submit it"
        )
    Roles(judged=roles.judged | chosen, taught=roles.taught | {case.name for case in teachers}).write(folder)
    return Collected(
        Cases(tuple(teachers), tuple(unlabelled), tuple(validation)),
        Scans(list(teachers.values()), list(unlabelled.values()), list(validation.values())),
        refused,
    )


def judges(datastore: Datastore, recipe: Recipe, share: float, folder: Path) -> list[ValidationScan]:
    """The validation scans that a training of the task would have now; those that cannot be read are left out."""
    cases = []
    for image in sorted(datastore.get_labeled_images()):
        try:
            case = _case(datastore, image, recipe.name)
        except (DiffclError, HTTPException):  # its label vanished
            continue
        if isinstance(case, LabelledCase):
            cases.append(case)
    chosen = Roles.read(folder).choose([case.name for case in cases], share)
    return list(_read([case for case in cases if case.name in chosen], recipe, {}).values())


def _read(
    cases: Sequence[LabelledCase], recipe: Recipe, refused: dict[str, str]
) -> Mapping[LabelledCase, ValidationScan]:
    """The validation scans that can be read; why the others cannot goes into `refused`."""
    found = {}
    for case in cases:
        try:
            found[case] = read_validation(case, recipe)
        except DiffclError as error:
            refused[case.name] = str(error)
    return found


def _case(datastore: Datastore, image: str, task: str) -> LabelledCase | UnlabelledCase:
    path = Path(datastore.get_image_uri(image))
    label = _label(datastore, image, task)
    return UnlabelledCase(image, path) if label is None else LabelledCase(image, path, label)


def _label(datastore: Datastore, image: str, task: str) -> Path | None:
    """The final label of a scan if it is of the task; the very version, which no later one replaces.

    Raises:
        UsageError: If its file vanished.
    """
    if FINAL not in datastore.get_labels_by_image_id(image):
        return None
    info: dict[str, Any] = datastore.get_label_info(image, FINAL)
    if info.get("task") not in (None, task):
        return None
    if isinstance(datastore, StudyDatastore) and info.get("version"):
        return datastore.history.label(image, info["version"])
    return Path(datastore.get_label_uri(image, FINAL))


def _digest(name: str) -> float:
    """A number that stays with a name and has nothing to do with it, 0..1."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 16**8

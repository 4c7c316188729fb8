"""From studies to the scans of a training: which teach, which validate, which are left out and why."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, PlainSerializer, ValidationError

from diffcl.data.array_cache import prune
from diffcl.data.cache import TrainingScan, prepare_case
from diffcl.data.cases import Cases, LabelledCase, UnlabelledCase
from diffcl.data.patients import patients_by_name
from diffcl.errors import ArchiveDownError, DataError, OutputError, failure_sentence
from diffcl.files import make_folder, write_text
from diffcl.recipe import Recipe
from diffcl.studies.label_changes import DRAWN
from diffcl.studies.label_check import NOT_OUTLINED
from diffcl.studies.label_tags import FINAL_OF
from diffcl.studies.protocol import Studies
from diffcl.training.run import PREPARED
from diffcl.training.scans import Scans
from diffcl.training.validation import ValidationScan, read_validation

logger = logging.getLogger(__name__)

ENOUGH_TO_VALIDATE = 5
"""With fewer labelled scans all of them teach, and nobody can say how good the result is."""

MOST_TO_VALIDATE = 20
"""Scans, or patients, whose mean is steady enough: where Dice differences between two versions spread by 0.02 over the
scans, their mean over 20 is known to 0.005."""

TOLD = 3
"""Reasons that a sentence gives before it says how many more there are."""

NO_FAULT_OF_A_SCAN = (ArchiveDownError, OutputError)
"""Errors that would meet every other scan as well: an archive that does not answer, a full disk."""


@dataclass(frozen=True)
class TrainingCases:
    """The scans of a training.

    Attributes:
        cases: Labelled, unlabelled and validation cases, all of them readable.
        scans: The same, read: what happens to their files from now on does no harm.
        refused: Why each scan that is left out is left out.
    """

    cases: Cases
    scans: Scans
    refused: dict[str, str]

    @property
    def counts(self) -> dict[str, Any]:
        """How many scans teach with and without a label and how many validate; which are left out and why."""
        return {
            "labelled": len(self.cases.labelled),
            "unlabelled": len(self.cases.unlabelled),
            "validation": len(self.cases.validation),
            "refused": self.refused,
        }


Names = Annotated[frozenset[str], PlainSerializer(sorted)]


class Roles(BaseModel):
    """What the labelled scans of a task have been used for, in FOLDER/roles.json.

    Attributes:
        judged: Scans that have validated a result.
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
        make_folder(folder)
        write_text(folder / "roles.json", self.model_dump_json(indent=2) + "\n")

    def choose(
        self, names: Sequence[str], share: float, patients: Mapping[str, str] | None = None
    ) -> set[str]:
        """The names kept for validation, all or none of a patient; see `_choose`, which is asked of the patients.

        >>> patients = {"p1_a": "p1", "p1_b": "p1", "p2_a": "p2", "p2_b": "p2", "p3": "p3", "p4": "p4"}
        >>> chosen = Roles().choose(list(patients), 0.2, patients)
        >>> {patients[name] for name in chosen} & {patients[name] for name in patients if name not in chosen}
        set()

        Args:
            names: Of scans with a whole label.
            share: Of them, or of their patients.
            patients: Whose they are; of a scan that is not among them, nobody else's.
        """
        known = patients or {}

        def of(scans: Iterable[str]) -> frozenset[str]:
            return frozenset(known.get(name, name) for name in scans)

        roles = Roles(judged=of(self.judged) - of(self.taught - self.judged), taught=of(self.taught))
        chosen = roles._choose(sorted(of(names)), share)
        return {name for name in names if known.get(name, name) in chosen}

    def _choose(self, names: Sequence[str], share: float) -> set[str]:
        """The names kept for validation: those that validated before, and others up to the share.

        Of fewer than `ENOUGH_TO_VALIDATE` names no others; of more at least one, at most the share, rounded down, and
        `MOST_TO_VALIDATE`. Others are names that have not taught yet, in an order that has nothing to do with them.

        >>> [len(Roles().choose([f"p{n}" for n in range(count)], 0.2)) for count in (4, 5, 8, 12, 20, 500)]
        [0, 1, 1, 2, 4, 20]

        >>> first = Roles().choose(["a", "b", "c", "d", "e"], 0.3)
        >>> first <= Roles(judged=first).choose(["a", "b", "c", "d", "e", "f", "g"], 0.1)
        True
        """
        chosen = set(names) & self.judged
        new = sorted(set(names) - self.judged - self.taught, key=_digest)
        if len(names) >= ENOUGH_TO_VALIDATE and share > 0:
            wanted = min(MOST_TO_VALIDATE, max(1, math.floor(share * len(names) + 1e-9)))
            chosen |= set(new[: max(0, wanted - len(chosen))])
            chosen = chosen or {min(names, key=_digest)}
        if chosen and len(chosen) == len(names):
            chosen -= {max(chosen, key=lambda name: (name not in self.judged, _digest(name)))}
        return chosen


def training_cases(
    studies: Studies, recipe: Recipe, share: float, folder: Path, *, only_approved: bool = False
) -> TrainingCases:
    """Find and read the scans of a task among the studies.

    Labelled are the scans whose final label is of this task and not flagged; all others are unlabelled, whatever
    labels of other tasks they have. Of at least `ENOUGH_TO_VALIDATE` labelled scans a share is kept for validation;
    what each is used for is kept in `folder`, so that a scan that validated goes on validating, and one that taught
    teaching. See `Roles.choose`. One that is partly drawn, or has a class that is not outlined, teaches, unless its
    patient validates. A scan that fails, for whatever reason, is left out.

    Args:
        studies: The studies.
        recipe: The task.
        share: Share of the labelled scans for validation, 0..1.
        folder: Where the trainings of the task work; FOLDER/prepared keeps prepared scans.
        only_approved: Whether only approved labels teach and validate.

    Raises:
        DataError: If no labelled scan is left.
        ArchiveDownError: If the archive does not answer.
        OutputError: If something cannot be kept.
    """
    refused: dict[str, str] = {}
    labelled: dict[LabelledCase, TrainingScan] = {}
    unlabelled: dict[UnlabelledCase, TrainingScan] = {}
    for image in sorted(studies.scans()):
        try:
            case = _case(studies, image, recipe, only_approved=only_approved)
            scan = prepare_case(case, recipe, folder / PREPARED)
        except NO_FAULT_OF_A_SCAN:
            raise
        except Exception as error:  # noqa: BLE001  one scan never stops the others
            refused[image] = failure_sentence(image, error)
            continue
        if isinstance(case, LabelledCase):
            labelled[case] = scan
        else:
            unlabelled[case] = scan
    roles = Roles.read(folder)
    whole = [case.name for case, scan in labelled.items() if scan.whole]
    patients = _patients(
        studies, [*(case.name for case in labelled), *(case.name for case in unlabelled)], recipe
    )
    chosen = roles.choose(whole, share, patients)
    judging = {patients.get(name, name) for name in chosen | roles.judged}
    validation = _read([case for case in labelled if case.name in chosen], recipe, folder, refused)
    teachers = {}
    for case, scan in labelled.items():
        if case.name in chosen:
            continue
        if not scan.whole and patients.get(case.name, case.name) in judging:
            refused[case.name] = (
                f"{case.name}: is not drawn as a whole, and of a patient who validates. Finish it"
            )
        else:
            teachers[case] = scan
    for plain in [case for case in unlabelled if patients.get(case.name, case.name) in judging]:
        refused[plain.name] = f"{plain.name}: has no label, and its patient validates. Label it"
        del unlabelled[plain]
    if not teachers:
        raise DataError(
            f"task {recipe.name}",
            f"no scan with a usable final label{_in_brackets(list(refused.values()))}",
            "Label one and submit it",
        )
    prune(folder / PREPARED)
    Roles(judged=roles.judged | chosen, taught=roles.taught | {case.name for case in teachers}).write(folder)
    return TrainingCases(
        Cases(tuple(teachers), tuple(unlabelled), tuple(validation)),
        Scans(
            list(teachers.values()),
            list(unlabelled.values()),
            list(validation.values()),
            [labelled[case] for case in validation],
        ),
        refused,
    )


def validation_cases(studies: Studies, recipe: Recipe, share: float, folder: Path) -> list[LabelledCase]:
    """The validation scans that a training of the task would have now; those that cannot be read are left out.

    They are kept prepared in `PREPARED` of the folder.

    Args:
        studies: The studies.
        recipe: The task.
        share: Share of the labelled scans for validation, 0..1.
        folder: Where the trainings of the task work.

    Raises:
        ArchiveDownError: If the archive does not answer.
        OutputError: If a scan of an archive cannot be kept.
    """
    cases = []
    for image in sorted(studies.labelled()):
        try:
            case = _case(studies, image, recipe)
        except NO_FAULT_OF_A_SCAN:
            raise
        except Exception as error:  # noqa: BLE001  one scan never stops the others
            logger.warning(f"{image} does not validate: {failure_sentence(image, error)}")
            continue
        partly = DRAWN in studies.label_notes(image, f"{FINAL_OF}{recipe.name}")
        if isinstance(case, LabelledCase) and not partly:
            cases.append(case)
    names = [case.name for case in cases]
    chosen = Roles.read(folder).choose(names, share, _patients(studies, names, recipe))
    return list(_read([case for case in cases if case.name in chosen], recipe, folder, {}))


def _patients(studies: Studies, names: Sequence[str], recipe: Recipe) -> dict[str, str]:
    """Whose scans they are: by what the studies say, else by the form of the names that the recipe gives."""
    return {**patients_by_name(names, recipe.patient), **studies.patients(names)}


def _read(
    cases: Sequence[LabelledCase], recipe: Recipe, folder: Path, refused: dict[str, str]
) -> Mapping[LabelledCase, ValidationScan]:
    """The validation scans that can be read; why the others cannot goes into `refused`."""
    found = {}
    for case in cases:
        try:
            found[case] = read_validation(case, recipe, folder / PREPARED)
        except NO_FAULT_OF_A_SCAN:
            raise
        except Exception as error:  # noqa: BLE001  one scan never stops the others
            refused[case.name] = failure_sentence(case.name, error)
    return found


def _case(
    studies: Studies, image: str, recipe: Recipe, *, only_approved: bool = False
) -> LabelledCase | UnlabelledCase:
    task = recipe.name
    path = studies.case_path(image) if recipe.sequences else studies.image_path(image)
    label = studies.training_label(image, task, only_approved=only_approved)
    if label is None:
        return UnlabelledCase(image, path)
    listed = studies.label_notes(image, f"{FINAL_OF}{task}").get(NOT_OUTLINED)
    names = tuple(str(name) for name in listed) if isinstance(listed, list) else ()
    return LabelledCase(image, path, label, names)


def _in_brackets(reasons: Sequence[str]) -> str:
    """The first reasons, and how many more there are; nothing where there are none.

    >>> _in_brackets(["a: is empty"] * 5)
    ' (a: is empty; a: is empty; a: is empty; and 2 more)'
    """
    told = [*reasons[:TOLD], f"and {len(reasons) - TOLD} more"] if len(reasons) > TOLD else reasons
    return f" ({'; '.join(told)})" if told else ""


def _digest(name: str) -> float:
    """A number that stays with a name and has nothing to do with it, 0..1."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 16**8

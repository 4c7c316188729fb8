"""The scans of a training, kept in its cache, so that a file that vanishes or changes meanwhile does no harm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diffcl.data.array_cache import prune
from diffcl.data.cache import TrainingScan, prepare_case
from diffcl.data.cases import Cases, LabelledCase, UnlabelledCase
from diffcl.errors import DataError, DiffclError
from diffcl.recipe import Recipe
from diffcl.training.label_remarks import label_remarks
from diffcl.training.scan_remarks import scan_remarks
from diffcl.training.validation import ValidationScan, read_validation


@dataclass(frozen=True)
class Scans:
    """Everything that a training reads.

    Attributes:
        labelled: Prepared scans with labels.
        unlabelled: Prepared scans.
        validation: Scans as they are, with labels.
        judges: The same prepared, where they teach in the last part of a training.
    """

    labelled: Sequence[TrainingScan]
    unlabelled: Sequence[TrainingScan]
    validation: Sequence[ValidationScan]
    judges: Sequence[TrainingScan] = ()


def training_remarks(scans: Scans, recipe: Recipe) -> tuple[str, ...]:
    """What a person should know of all that teaches, a sentence each, see `label_remarks` and `scan_remarks`.

    Raises:
        DataError: If all labels are empty.
    """
    every = [*scans.labelled, *scans.unlabelled]
    return (*label_remarks(scans.labelled, recipe), *scan_remarks(every, recipe))


def load_scans(cases: Cases, recipe: Recipe, cache: Path, *, judges_teach: bool = False) -> Scans:
    """Prepare and read all cases, before any training; what nobody has used for long leaves the cache.

    Args:
        cases: All of them.
        recipe: The task.
        cache: Folder of prepared scans.
        judges_teach: Whether the validation scans teach at the end.

    Raises:
        DataError: Naming every case that cannot be used.
    """
    prepared: dict[bool, list[TrainingScan]] = {True: [], False: []}
    validation: list[ValidationScan] = []
    judges: list[TrainingScan] = []
    faults = []
    used: tuple[LabelledCase | UnlabelledCase, ...] = (*cases.labelled, *cases.unlabelled)
    if recipe.training.method == "supervised":
        used = cases.labelled
    for case in used:
        try:
            prepared[isinstance(case, LabelledCase)].append(prepare_case(case, recipe, cache))
        except DiffclError as error:
            faults.append(str(error))
    for validation_scan in cases.validation:
        try:
            validation.append(read_validation(validation_scan, recipe, cache))
            if judges_teach:
                judges.append(prepare_case(validation_scan, recipe, cache))
        except DiffclError as error:
            faults.append(str(error))
    if faults:
        count = len(used) + len(cases.validation)
        raise DataError(f"{len(faults)} of {count} cases", " | ".join(faults), "Mend or unlist them")
    prune(cache)
    return Scans(prepared[True], prepared[False], validation, judges)

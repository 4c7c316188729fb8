"""Runs whose scores stand beside a model's in its card, for comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffcl.errors import UsageError
from diffcl.publishing.ensemble_weight import choose_ensemble_weight
from diffcl.training.best import read_best
from diffcl.training.run import read_run, schedule_done
from diffcl.training.validation import ValidationScan, validate


@dataclass(frozen=True)
class Comparison:
    """Another training, judged by the same validation scans.

    Attributes:
        supervised: Whether it trained CS alone, on labelled scans.
        labelled: How many labelled scans it learned from.
        unlabelled: How many unlabelled ones.
        steps: Of CS.
        scores: Of its ensemble, or of CS where that was trained alone; see `Scores.numbers`.
    """

    supervised: bool
    labelled: int
    unlabelled: int
    steps: int
    scores: dict[str, Any]

    @property
    def title(self) -> str:
        """What it is, in words."""
        if self.supervised:
            return f"CS trained on {self.labelled} labelled scans only, {self.steps} steps"
        return (
            f"Ensemble trained on {self.labelled} labelled and {self.unlabelled} unlabelled scans, "
            f"{self.steps} steps"
        )


def compare(run: Path, validation_scans: Sequence[ValidationScan]) -> Comparison:
    """Judge the best networks of a run.

    Args:
        run: Folder of a run of `train`.
        validation_scans: The validation scans of the model that it shall stand beside.

    Raises:
        UsageError: If the folder holds no run, or one with other validation scans.
        DataError: If the run has no weights yet.
    """
    made, best = read_run(run), read_best(run)
    names = [validation_scan.name for validation_scan in validation_scans]
    if [case.name for case in made.cases.validation] != names:
        raise UsageError(run, f"was not validated on the model's {len(names)} scans", "Name a run that was")
    alone = best.cs_alone
    scores = (
        validate(validation_scans, best.model, networks="cs")
        if alone
        else choose_ensemble_weight(best.model, validation_scans)[1]["ensemble"]
    )
    return Comparison(
        alone,
        len(made.cases.labelled),
        0 if alone else len(made.cases.unlabelled),
        schedule_done(run, made).steps,
        scores.numbers(),
    )

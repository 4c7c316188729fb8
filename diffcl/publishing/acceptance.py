"""The acceptance of a model that somebody sent and that got through its trial, in a process of its own.

    python -m diffcl.publishing.acceptance PARENT

It reads one object of JSON from its standard input, validates the model on the scans that it names, compares it with
the version in use, keeps it as a new version, and prints the decision or why the model is refused; see `Acceptance`.
Time and memory are limited: whatever an accepted file does to who computes with it, it does to this process.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

from diffcl.data.cases import LabelledCase
from diffcl.errors import DiffclError
from diffcl.models.registry import ModelRegistry
from diffcl.models.weights import load_model
from diffcl.processes import end_with_parent
from diffcl.publishing.candidate import Candidate
from diffcl.publishing.ensemble_weight import ensemble_scores
from diffcl.publishing.gate import pass_gate
from diffcl.publishing.trial import SCAN_BYTES, WINDOW_BYTES, limit_memory, refusal, verdict_of
from diffcl.recipe import Recipe
from diffcl.training.validation import read_validation

SECONDS: Final = 4 * 3600.0
"""For both models on all validation scans."""

BYTES: Final = SCAN_BYTES + WINDOW_BYTES
"""Of memory, for a scan as a whole and the networks at work on a window of it."""


@dataclass(frozen=True)
class Acceptance:
    """What the process is told.

    Attributes:
        folder: The model, unpacked.
        name: Of the model.
        recipe: Its task, as JSON.
        stores: Folders of the store; it goes into the first.
        cases: Name, scan, label and classes without outline of each validation scan.
        cache: Folder in which they are kept prepared.
        margin: How much lower its mean Dice may be than that of the model in use, 0..1.
    """

    folder: str
    name: str
    recipe: str
    stores: Sequence[str]
    cases: Sequence[tuple[str, str, str, Sequence[str]]]
    cache: str
    margin: float


def accepted(
    folder: Path,
    name: str,
    recipe: Recipe,
    store: ModelRegistry,
    cases: Sequence[LabelledCase],
    cache: Path,
    margin: float,
) -> dict[str, Any]:
    """Validate a model and let the gate decide about it, in a process of its own.

    Args:
        folder: The model; nothing of its weights is read by this process.
        name: Of the model.
        recipe: Its task.
        store: Where it goes.
        cases: Scans that both models are validated on; none where too few are labelled.
        cache: Folder in which they are kept prepared.
        margin: How much lower its mean Dice may be than that of the model in use, 0..1.

    Returns:
        The number of the version and the decision.

    Raises:
        DiffclError: If the model ends the process, takes longer or needs more memory than allowed, or the version
            cannot be written.
    """
    told = Acceptance(
        str(folder),
        name,
        recipe.model_dump_json(exclude_unset=True),
        [str(one) for one in store.folders],
        [(case.name, str(case.image), str(case.label), case.not_outlined) for case in cases],
        str(cache),
        margin,
    )
    scans = f"{len(cases)} validation scan{'s' * (len(cases) != 1)}"
    return verdict_of(
        [sys.executable, "-m", "diffcl.publishing.acceptance", str(os.getpid())],
        f"model {name}",
        SECONDS,
        slow=f"did not predict {scans}",
        failed=f"could not predict {scans} with {BYTES / 2**30:.3g} GiB",
        told=json.dumps(asdict(told)),
    )


def accept(told: Acceptance) -> dict[str, Any]:
    """Validate a model and let the gate decide about it; the number of the version and the decision."""
    recipe, model = Recipe.model_validate_json(told.recipe), load_model(Path(told.folder))
    cases = [
        LabelledCase(name, Path(scan), Path(label), tuple(names)) for name, scan, label, names in told.cases
    ]
    scans = [read_validation(case, recipe, Path(told.cache)) for case in cases]
    found = ensemble_scores(model, scans) if scans else None
    provenance = {
        "labelled": [],
        "unlabelled": [],
        "validation": [scan.name for scan in scans],
        "classes": found.by_class() if found else {},
        "parent": None,
        "uploaded": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "said": {"scores": model.info.scores, "provenance": model.info.provenance},
    }
    scores = {"ensemble": found.numbers()} if found else {}
    info = model.info.model_copy(update={"scores": scores, "provenance": provenance})
    store = ModelRegistry(*map(Path, told.stores))
    candidate = Candidate(replace(model, info=info), scans, ensemble=found)
    version = pass_gate(candidate, told.name, store, margin=told.margin)
    return {"version": version.number, **asdict(version.decision)}


def main() -> None:
    """Accept what standard input tells of; what libraries print goes to standard error."""
    told = Acceptance(**json.loads(sys.stdin.read()))
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    limit_memory(BYTES)
    try:
        verdict = accept(told)
    except DiffclError as error:
        verdict = refusal(error, f"model {told.name}")
    answers.write(json.dumps(verdict) + "\n")
    answers.flush()


if __name__ == "__main__":
    end_with_parent(int(sys.argv[1]))
    main()

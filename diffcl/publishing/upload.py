"""A model that comes through the API: a new version under the gate, or a sentence."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

from diffcl.errors import ModelError
from diffcl.files import not_written
from diffcl.models import ModelRegistry
from diffcl.models.weights import load_model
from diffcl.publishing.candidate import Candidate
from diffcl.publishing.gate import pass_gate
from diffcl.publishing.trial import try_package
from diffcl.recipe import Recipe
from diffcl.training.validation import ValidationScan, validate


def accept_upload(
    archive: BinaryIO,
    name: str,
    recipe: Recipe,
    store: ModelRegistry,
    validation_scans: Sequence[ValidationScan],
    margin: float,
) -> dict[str, Any]:
    """Check an uploaded model and let the gate decide about it.

    Args:
        archive: A ZIP file, see `diffcl.models.archive`; only a process of its own opens it.
        name: Of the model.
        recipe: Its task; the classes and the sequences must be the same.
        store: Where it goes.
        validation_scans: Scans that both models are validated on; none where too few are labelled.
        margin: How much lower its mean Dice may be than that of the model in use, 0..1.

    Returns:
        The number of the version and the decision.

    Raises:
        ModelError: If it is no model of ours, one of another task, or one that does not get through its trial
            prediction, see `diffcl.publishing.trial`; nothing is kept of it.
        OutputError: If the disk is full.
    """
    where = f"model {name}"
    used = [store.info(name).profile] if name in store.names() else []
    with TemporaryDirectory() as temporary:
        package, folder = Path(temporary) / "package.zip", Path(temporary) / "model"
        folder.mkdir()
        archive.seek(0)
        try:
            with package.open("wb") as file:
                shutil.copyfileobj(archive, file)
        except OSError as error:
            raise not_written(package, error) from error
        try_package(package, folder, where, used)
        model = load_model(folder)
    own, wanted = ([entry.name for entry in one.labels] for one in (model.info.recipe, recipe))
    if own != wanted:
        raise ModelError(where, f"segments {', '.join(own)}"[:200], f"This task has {', '.join(wanted)}")
    takes = model.info.recipe.sequences_in_words
    if takes != recipe.sequences_in_words:
        raise ModelError(where, f"takes {takes}"[:200], f"This task takes {recipe.sequences_in_words}")
    found = validate(validation_scans, model) if validation_scans else None
    scores = {"ensemble": found.numbers()} if found else {}
    provenance = {
        "labelled": [],
        "unlabelled": [],
        "validation": [validation_scan.name for validation_scan in validation_scans],
        "classes": found.by_class() if found else {},
        "parent": None,
        "uploaded": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "said": {"scores": model.info.scores, "provenance": model.info.provenance},
    }
    info = model.info.model_copy(update={"scores": scores, "provenance": provenance})
    version = pass_gate(Candidate(replace(model, info=info), validation_scans), name, store, margin=margin)
    return {"version": version.number, **asdict(version.decision)}

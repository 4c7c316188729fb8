"""From a run to a published model: weights, ensemble weight, scores and card."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from diffcl.data.prepare import prepare
from diffcl.errors import UsageError
from diffcl.inference.model import Model, ModelInfo, save_model
from diffcl.inference.profile import Profile
from diffcl.inference.store import ModelStore
from diffcl.io import read_scan
from diffcl.io.atomic import replace_file
from diffcl.training.card import write_card
from diffcl.training.checkpoint import load_checkpoint
from diffcl.training.learner import Learner
from diffcl.training.loop import read_run
from diffcl.training.validation import unpublished, validate
from diffcl.training.weighing import weigh
from diffcl.version import version


def publish(run: Path, name: str, store: ModelStore, *, baseline: Path | None = None) -> Path:
    """Publish the best networks of a run as a new version of a model.

    The ensemble weight is the one with the best mean Dice on the run's validation scans; without any it
    stays the recipe's.

    Args:
        run: Folder of a run of `train`.
        name: Name of the model.
        store: Where it goes.
        baseline: A supervised run on the same cases, whose score stands beside the model's in the card.

    Returns:
        The folder of the new version.

    Raises:
        UsageError: If the folder holds no run, or one that trained CS alone.
        DataError: If the run has no weights yet.
    """
    recipe, cases = read_run(run)
    best = load_checkpoint(run / "best.pt")
    if "ds" not in best:
        raise UsageError(run, "trained CS alone", "Publish a run of the whole method")
    model = _networks(run)
    scores: dict[str, Any] = {}
    if cases.validation:
        weight, found = weigh(model, cases.validation)
        recipe = recipe.changed(inference={"ds_weight": weight})
        scores = {name: one.numbers() for name, one in found.items()}
        if baseline is not None:
            supervised = validate(cases.validation, _networks(baseline), networks="cs")
            scores["supervised"] = supervised.numbers()
    seen = [case.image for case in cases.labelled] + [case.image for case in cases.unlabelled]
    profile = Profile.of((prepare(read_scan(image), recipe) for image in seen), recipe.modality)
    provenance = {
        "labelled": [case.name for case in cases.labelled],
        "unlabelled": [case.name for case in cases.unlabelled],
        "validation": [case.name for case in cases.validation],
        "best_step": best["step"],
        "diffcl": version(),
        "torch": torch.__version__,
    }
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")

    def fill(folder: Path, number: int) -> None:
        info = ModelInfo(name=name, version=number, created=created, recipe=recipe, scores=scores,
                         provenance=provenance, profile=profile)  # fmt: skip
        save_model(folder, info, model.cs, model.ds)
        with replace_file(folder / "card.md") as temporary:
            temporary.write_text(write_card(info), encoding="utf-8")

    return store.add(name, fill)


def _networks(run: Path) -> Model:
    """The best networks of a run; DS is untrained where the run trained CS alone."""
    recipe, _ = read_run(run)
    best = load_checkpoint(run / "best.pt")
    learner = Learner(recipe, torch.device("cpu"))
    learner.cs.teacher.load_state_dict(best["cs"])
    if learner.ds is not None:
        learner.ds.teacher.load_state_dict(best["ds"])
    ds = None if learner.ds is None else learner.ds.teacher
    return unpublished(recipe, learner.cs.teacher.eval(), ds and ds.eval(), learner.device)

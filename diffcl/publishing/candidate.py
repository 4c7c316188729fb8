"""From a run to a version of a model: weights, ensemble weight, scores and card."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from diffcl.data.cache import prepare_case
from diffcl.data.cases import LabelledCase, UnlabelledCase
from diffcl.errors import DiffclError, ModelError, UsageError
from diffcl.evaluation.scores import Scores
from diffcl.files import write_text
from diffcl.models.metadata import DOUBT_PICTURE, JUDGED_WEIGHTS, ModelInfo
from diffcl.models.onnx.export import write_onnx
from diffcl.models.profile import Profile
from diffcl.models.registry import ModelRegistry
from diffcl.models.weights import Model, load_model, save_model, save_weights
from diffcl.networks.precision import knows_bfloat16
from diffcl.publishing.calibration_figure import draw_doubt
from diffcl.publishing.card import write_card
from diffcl.publishing.comparison import compare
from diffcl.publishing.ensemble_weight import choose_ensemble_weight
from diffcl.publishing.narrow_numbers import bfloat16_scores
from diffcl.recipe import Recipe
from diffcl.training.best import read_best
from diffcl.training.run import LAST, read_preparation, read_run, schedule_done
from diffcl.training.validation import ValidationScan, read_validation, unpublished, validate
from diffcl.version import version

logger = logging.getLogger(__name__)

FORGOTTEN = 0.01
"""How much lower the Dice on scans may be after they taught than before: more is a sign that something went wrong."""

BY_HAND = {"published": True, "reason": "Published by hand, without a comparison."}


@dataclass(frozen=True)
class Candidate:
    """A model that is no version yet.

    Attributes:
        model: With a description that lacks name, number and decision.
        validation_scans: Validation scans that can still be read.
        run: Tells the run from every other; empty where there was none.
        scores: What its picture of doubt shows, by network; empty where nothing was validated.
        ensemble: What the gate compares: scores of those scans, by weights that have not learned from them; None where
            nothing was validated.
        before: The same model before the validation scans taught it, which all scores are of; None where they did not.
    """

    model: Model
    validation_scans: Sequence[ValidationScan]
    run: str = ""
    scores: Mapping[str, Scores] = field(default_factory=dict)
    ensemble: Scores | None = None
    before: Model | None = None


def publish(run: Path, name: str, store: ModelRegistry, *, beside: Sequence[Path] = ()) -> Path:
    """Publish the best networks of a run as a new version of a model, whatever the one in use is like.

    Args:
        run: Folder of a run of `train`.
        name: Name of the model.
        store: Where it goes.
        beside: Runs with the same validation scans, whose scores stand beside the model's in the card.

    Returns:
        The folder of the new version.

    Raises:
        UsageError: If the folder holds no run, or one that trained CS alone.
        DataError: If the run has no weights yet.
    """
    return add_version(make_candidate(run, beside=beside), name, store, BY_HAND)


def add_version(candidate: Candidate, name: str, store: ModelRegistry, decision: dict[str, Any]) -> Path:
    """Keep a candidate as a new version, which is in use from now on if it was `published`.

    Args:
        candidate: What it is.
        name: Name of the model.
        store: Where it goes.
        decision: What its provenance shall say about its publication: `published`, `reason` and more.

    A version has ONNX files unless they would answer otherwise than torch, by which candidates are measured.

    Returns:
        The folder of the new version.
    """
    info = candidate.model.info
    provenance = {**info.provenance, "engine": "torch", "run": candidate.run, "decision": decision}

    def fill(folder: Path, number: int) -> None:
        final = info.model_copy(update={"name": name, "version": number, "provenance": provenance})
        save_model(folder, final, candidate.model.cs, candidate.model.ds)
        if candidate.before is not None:
            save_weights(folder / JUDGED_WEIGHTS, candidate.before.cs, candidate.before.ds)
        if candidate.scores:
            draw_doubt(candidate.scores, f"{name}, version {number}", folder / DOUBT_PICTURE)
        write_text(folder / "card.md", write_card(final, pictured=bool(candidate.scores)))
        try:
            write_onnx(load_model(folder), folder, share_weights=True)
        except ModelError as error:
            logger.warning(f"{name} {number} has no ONNX files: {error}")

    return store.add(name, fill, use=bool(decision["published"]))


def make_candidate(run: Path, *, beside: Sequence[Path] = ()) -> Candidate:
    """The best networks of a run as a model.

    The ensemble weight is the one with the best mean Dice on the run's validation scans; without any it
    stays the recipe's. Scans that vanished or became unreadable since the run began are left out. Of a run with a last
    part the model is what that made of the best networks, unless it knows the validation scans less well than they do.

    Raises:
        UsageError: If the folder holds no run, or one that trained CS alone; if one beside has other validation scans.
        DataError: If a run has no weights yet.
    """
    made = read_run(run)
    recipe, cases, best = made.recipe, made.cases, read_best(run)
    if best.cs_alone:
        raise UsageError(run, "trained CS alone", "Publish a run of the whole method")
    model, preparation = best.model, read_preparation(run)
    validation_scans = []
    for case in cases.validation:
        with suppress(DiffclError):
            validation_scans.append(read_validation(case, recipe, preparation.cache))
    scores: dict[str, Any] = {}
    found: dict[str, Scores] = {}
    narrow: dict[str, Any] = {}
    if validation_scans:
        weight, found = choose_ensemble_weight(model, validation_scans)
        recipe = recipe.changed(inference={"ds_weight": weight})
        scores = {name: one.numbers() for name, one in found.items()}
        if model.device.type == "cpu" and knows_bfloat16():
            weighted = unpublished(recipe, model.cs, model.ds, model.device)
            narrow = {"bfloat16": bfloat16_scores(weighted, validation_scans, found["ensemble"])}
    last, told = _last_part(run, model.info.model_copy(update={"recipe": recipe}), validation_scans, found)
    parent = made.plan.parent
    provenance = {
        "labelled": [case.name for case in cases.labelled],
        "unlabelled": [case.name for case in cases.unlabelled],
        "validation": [validation_scan.name for validation_scan in validation_scans],
        "classes": found["ensemble"].by_class() if found else {},
        "parent": parent and {"name": parent.name, "version": parent.version},
        "training": schedule_done(run, made).model_dump(),
        "minutes": made.plan.minutes,
        "taught_last": [] if last is None else [case.name for case in cases.validation],
        "remarks": [*preparation.remarks, *told],
        "best_step": best.step,
        "beside": [asdict(compare(other, validation_scans)) for other in beside],
        "diffcl": version(),
        "torch": torch.__version__,
        **narrow,
    }
    seen = preparation.traits or _traits((*cases.labelled, *cases.unlabelled), recipe, preparation.cache)
    info = ModelInfo(
        name=recipe.name,
        version=0,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        recipe=recipe,
        scores=scores,
        provenance=provenance,
        profile=Profile.of(seen, recipe.modality),
    )
    before = Model(info, model.cs, model.ds, model.device)
    judged = found.get("ensemble")
    if last is None:
        return Candidate(before, validation_scans, made.id, found, judged)
    whole = Model(info, last.cs, last.ds, last.device)
    return Candidate(whole, validation_scans, made.id, found, judged, before)


def _last_part(
    run: Path, info: ModelInfo, scans: Sequence[ValidationScan], found: Mapping[str, Scores]
) -> tuple[Model | None, list[str]]:
    """What the last part of a run made of its networks, and how that is told; None where it is of no use."""
    if not (run / LAST / "best.pt").is_file():
        return None, []
    last = read_best(run, LAST).model
    if not found:
        return last, ["At the end the scans that were to judge it taught as well."]
    count = "the scan that judged it" if len(scans) == 1 else f"the {len(scans)} scans that judged it"
    before = found["ensemble"].dice
    after = validate(scans, Model(info, last.cs, last.ds, last.device)).dice
    if after >= before - FORGOTTEN:
        return last, [f"At the end {count} taught as well; all scores are of the weights before that."]
    dice = f"a Dice of {after:.3f} on them, {before:.3f} before"
    return None, [f"With {count} teaching as well it came to {dice}, so that is left out."]


def _traits(
    cases: Iterable[LabelledCase | UnlabelledCase], recipe: Recipe, cache: Path
) -> list[Mapping[str, float]]:
    """What those cases are like that can be read."""
    found = []
    for case in cases:
        with suppress(DiffclError):
            found.append(prepare_case(case, recipe, cache).traits)
    return found

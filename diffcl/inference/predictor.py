"""The Predictor: a scan goes in, a label on the scan's own grid comes out, with its uncertainty and a report.

The server, the command line and the validation all use this one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from diffcl.data.preprocess import prepare
from diffcl.data.restore import Restoration
from diffcl.geometry import Geometry, extent
from diffcl.inference.engine import EngineChoice, choose_engine
from diffcl.inference.ensemble import (
    Disagreement,
    NetworkProbabilities,
    Networks,
    most_probable,
    networks_choice,
)
from diffcl.inference.expected_error import ExpectedDice
from diffcl.inference.noise import seed_choice
from diffcl.inference.outlook import Outlook, Watch
from diffcl.inference.reading import read
from diffcl.io.scan import Scan
from diffcl.models.metadata import EngineName
from diffcl.models.weights import Model
from diffcl.networks.allocation import keeps_freed_memory
from diffcl.pieces import largest_piece
from diffcl.recipe import Recipe

SURE = 1e-4
"""Probability of all classes but the background below which its uncertainty is less than one of 255 steps."""

STEPS = np.float32(255)
"""Steps in which an uncertainty between 0 and 1 is kept."""


class Report(BaseModel):
    """What is worth knowing about one prediction.

    Attributes:
        case: Name of the scan.
        model: Name of the model.
        version: Its version.
        networks: Who was asked: ensemble, cs or ds.
        engine: What computed the networks: torch, bfloat16 (torch in that number format) or onnx.
        volumes_ml: Millilitres of each class.
        disagreement: 1 - Dice between the outlines of CS and DS, 0..1; larger is more doubtful. None when
            only one network was asked.
        doubt: Share of the label that is expected to be wrong, 0..1, see `diffcl.inference.expected_error`.
        learned_from: How many scans of each kind the model was trained on.
        seconds: Time of each stage.
        warnings: One sentence each.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    case: str
    model: str
    version: int
    networks: str
    engine: EngineName
    volumes_ml: dict[str, float]
    disagreement: float | None
    doubt: float
    learned_from: dict[str, int]
    seconds: dict[str, float]
    warnings: list[str]


@dataclass(frozen=True)
class Prediction:
    """A label and what is known about it. All images lie exactly on the scan's grid.

    Attributes:
        label: Class values, uint8.
        uncertainty: Predictive entropy of the probabilities, 0 (sure) .. 1 (all classes alike) in 255 steps,
            float32.
        probabilities: Of each class without background, float32; empty unless asked for.
        report: Volumes, doubt, time and warnings.
    """

    label: sitk.Image
    uncertainty: sitk.Image
    probabilities: tuple[sitk.Image, ...]
    report: Report


@dataclass
class _Clock:
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = perf_counter()
        yield
        self.seconds[name] = round(self.seconds.get(name, 0.0) + perf_counter() - start, 4)


class Predictor:
    """Predicts with one model. Safe to call from several threads.

    Args:
        model: The loaded ensemble.
        engine: What computes it; `auto` is one with which the version was measured, see `choose_engine`.

    Raises:
        ModelError: If the engine cannot read its files.
        UsageError: If the engine does not compute there.
    """

    def __init__(self, model: Model, engine: EngineChoice = "auto") -> None:
        self.model = model
        self.engine = choose_engine(model, engine)

    def __call__(
        self,
        scan: Scan,
        *,
        networks: Networks = "ensemble",
        seed: int | None = None,
        keep_probabilities: bool = False,
        on_outlook: Callable[[Outlook], None] | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Prediction:
        """Segment a scan.

        Args:
            scan: The scan, of any orientation and spacing.
            networks: The ensemble, or one network alone.
            seed: Of the noise from which DS starts; the recipe's by default.
            keep_probabilities: Whether the class probabilities are wanted as images.
            on_outlook: Told before most of the work in what the scan is unlike those of the training and how
                long it will take.
            on_progress: Told how many windows are done, and of how many.

        Raises:
            UsageError: If there are no such networks, or the seed is none.
        """
        networks, seed = networks_choice(networks), seed_choice(seed)
        model, engine, recipe, clock = self.model, self.engine, self.model.info.recipe, _Clock()
        with clock.stage("prepare"):
            prepared = prepare(scan, recipe)
        unlike = model.info.profile.warnings(scan, prepared)
        told = on_outlook or on_progress
        watch = Watch(scan.name, tuple(unlike), on_outlook, on_progress) if told else None
        original, working, image = prepared.original, prepared.working, prepared.image.to(model.device)
        del prepared  # its image is large, and given up after the last window
        label, uncertainty = original.zeros(np.uint8), original.zeros(np.uint8)
        maps = [original.zeros(np.float32) for _ in recipe.labels] if keep_probabilities else []
        doubt, disagreement = ExpectedDice(len(recipe.labels)), Disagreement()

        def put_back(slab: NetworkProbabilities) -> None:
            disagreement.add(slab)
            doubt.add(slab.mean)
            for where, probabilities in restoration.add(slab.mean):
                label[where] = most_probable(torch.from_numpy(probabilities)).numpy()
                uncertainty[where] = entropy_steps(probabilities)
                for whole, part in zip(maps, probabilities[1:], strict=bool(maps)):
                    whole[where] = part

        with keeps_freed_memory():
            with clock.stage("networks"):
                reading = read(
                    image, recipe, engine.cs, engine.ds, networks=networks, seed=seed, on_window=watch
                )
            del image
            restoration = Restoration(working.part(reading.box), original, SURE)
            while True:
                with clock.stage("networks"):
                    slab = next(reading.slabs, None)
                if slab is None:
                    break
                with clock.stage("restore"):
                    put_back(slab)
                del slab  # before the windows of the next one are asked
            del reading  # before what it holds is given back
        with clock.stage("postprocess"):
            label = keep_largest(label, recipe)
        warnings = [*scan.remarks, *unlike]
        if not label.any():
            warnings.append("Nothing was found.")
        report = Report(
            case=scan.name,
            model=model.info.name,
            version=model.info.version,
            networks=networks,
            engine=engine.name,
            volumes_ml=volumes_ml(label, original, recipe),
            disagreement=disagreement.value,
            doubt=doubt.error,
            learned_from=model.info.learned_from,
            seconds=clock.seconds,
            warnings=warnings,
        )
        return Prediction(
            original.place(label),
            sitk.ShiftScale(original.place(uncertainty), 0.0, 1 / float(STEPS), sitk.sitkFloat32),
            tuple(map(original.place, maps)),
            report,
        )


def decide(probabilities: NDArray[Any], recipe: Recipe) -> NDArray[Any]:
    """The class of each voxel `(X, Y, Z)`, uint8, of probabilities `(K, X, Y, Z)`."""
    return keep_largest(most_probable(torch.from_numpy(probabilities)).numpy(), recipe)


def keep_largest(label: NDArray[Any], recipe: Recipe) -> NDArray[Any]:
    """A label map `(X, Y, Z)` with only the largest piece of each class of which the recipe says so."""
    single = recipe.of_one_piece(recipe.inference.largest_component)
    if not (single and label.any()):
        return label
    others = np.arange(256, dtype=label.dtype)
    others[list(single)] = 0
    kept: NDArray[Any] = others[label]
    counts = _counts(label)
    for value in single:
        planes = np.flatnonzero(counts[:, value])
        if len(planes):
            part = slice(planes[0], planes[-1] + 1)
            inside = label[..., part] == value
            box = extent(inside)
            kept[..., part][box][largest_piece(inside[box])] = value
    return kept


def _counts(label: NDArray[Any]) -> NDArray[np.int64]:
    """How many voxels of a label map `(X, Y, Z)` have each value in each plane across the last axis, `(Z, 256)`.

    Plane by plane, because numpy counts numbers of eight bytes.
    """
    return np.stack([np.bincount(plane.ravel(), minlength=256) for plane in label.T])


def entropy(probabilities: NDArray[Any], classes: int | None = None) -> NDArray[Any]:
    """Entropy of each voxel's classes over its largest possible value, `(K, X, Y, Z)` to `(X, Y, Z)`, 0..1, float32.

    In steps of 1/255, which is finer than it can be trusted and makes files of it small.

    >>> entropy(np.array([0.5, 0.5]).reshape(2, 1, 1, 1)).item()
    1.0

    Args:
        probabilities: Of each class.
        classes: How many there are, where those are left out that are nowhere.
    """
    return entropy_steps(probabilities, classes) / STEPS


def entropy_steps(probabilities: NDArray[Any], classes: int | None = None) -> NDArray[np.uint8]:
    """`entropy` as the number of its step, 0..255."""
    total: Tensor | None = None
    for one in torch.from_numpy(probabilities):  # class by class, which needs little memory
        safe = one.clamp(1e-7, 1)
        part = safe.log().mul_(safe)
        total = part if total is None else total.add_(part)
    assert total is not None
    steps = total.div_(-math.log(classes or len(probabilities))).clamp_(0, 1).mul_(255).round_()
    found: NDArray[np.uint8] = steps.byte().numpy()
    return found


def volumes_ml(label: NDArray[Any], geometry: Geometry, recipe: Recipe) -> dict[str, float]:
    """Millilitres of each class by name."""
    voxel, counts = geometry.voxel_ml, _counts(label).sum(axis=0)
    return {entry.name: round(int(counts[entry.value]) * voxel, 4) for entry in recipe.labels}

"""From a scan and what is known of its label to the whole label: with a model, or without one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray

from diffcl.data.preprocess import PreparedScan, classes_on_grid, prepare
from diffcl.errors import LISTED, UsageError
from diffcl.files import make_folder
from diffcl.geometry import Box, Geometry, extent, voxels
from diffcl.inference.interactive.clicks import corrected
from diffcl.inference.interactive.denoising import completed_probabilities
from diffcl.inference.interactive.known import Known
from diffcl.inference.interactive.made_from import MadeFrom
from diffcl.inference.interactive.shapes import Distances, between_slices
from diffcl.inference.outputs import Place
from diffcl.inference.predictor import Prediction, Predictor, entropy
from diffcl.io.images.write import write_image
from diffcl.io.scan import Scan
from diffcl.labels import UNKNOWN

SOFT_MM = 1.0
"""Distance from the outline at which a voxel is on its side with odds of 2.7 to 1; chosen on validation scans."""

MARGIN_MM = 12.0
"""Width of the border around all that is drawn or proposed in which a label may be found."""

NOT_LEARNED = "This model has not learned to complete: what is drawn is held while it denoises."


@dataclass(frozen=True)
class Completion:
    """A whole label of which a part was given. The images lie exactly on the scan's grid.

    Attributes:
        label: Class values, uint8; the known voxels as they were given.
        uncertainty: 0 (sure, and where it is known) .. 1 (all classes alike), float32.
        known: What was taken for known, a sentence.
        volumes_ml: Millilitres of each class by name.
        warnings: One sentence each.
        seconds: Time that it took.
        made_from: The files that it was made from, which it does not replace.
        model: Name and version of the model; empty without one.
    """

    label: sitk.Image
    uncertainty: sitk.Image
    known: str
    volumes_ml: dict[str, float]
    warnings: list[str]
    seconds: float
    made_from: MadeFrom
    model: str = ""

    @property
    def affine(self) -> NDArray[np.float64]:
        """Of every array of this completion: `(4, 4)`, voxel indices to RAS millimetres, as nibabel has it."""
        return Geometry.of(self.label).affine

    def label_array(self) -> NDArray[np.uint8]:
        """Class values `(X, Y, Z)`, in the order of the voxels of the scan."""
        array: NDArray[np.uint8] = voxels(self.label)
        return array

    def uncertainty_array(self) -> NDArray[np.float32]:
        """Uncertainty `(X, Y, Z)`, 0..1, in the order of `label_array`."""
        array: NDArray[np.float32] = voxels(self.uncertainty)
        return array

    def save(self, label: Place, uncertainty: Place | None = None) -> list[Path]:
        """Write the label, and perhaps its uncertainty, each whole or not at all; folders are made.

        Args:
            label: `.nii.gz`, `.nii`, `.nrrd`, `.mha`, or a folder, in which it is called like the scan.
            uncertainty: Likewise.

        Returns:
            The files, in this order.

        Raises:
            UsageError: If a file would replace the scan, a label that this one was made from or the other file, or its
                name ends in what cannot be written.
            OutputError: If a file cannot be written.
        """
        paths = self.made_from.outputs(label, uncertainty).paths()
        for image, path in zip((self.label, self.uncertainty), paths, strict=False):
            make_folder(path.parent)
            write_image(image, path)
        return paths


@dataclass(frozen=True)
class Begun:
    """A label that somebody has begun.

    Attributes:
        known: What is known of it.
        start: Class values `(X, Y, Z)` to start from, in place of a proposal; `UNKNOWN` where the proposal is wanted.
        inside: Where the answer may differ from what it starts from `(X, Y, Z)`; everywhere by default.
    """

    known: Known
    start: NDArray[np.uint8] | None = None
    inside: NDArray[np.bool_] | None = None


def complete(
    scan: Scan,
    known: Known,
    names: Mapping[str, int],
    *,
    predictor: Predictor | None = None,
    proposal: Prediction | None = None,
    start: NDArray[np.uint8] | None = None,
    inside: NDArray[np.bool_] | None = None,
    seed: int | None = None,
) -> Completion:
    """The whole label of a scan of which a part is known.

    With a model its proposal is moved so that it goes through what is drawn, and DS denoises that with the known
    voxels held. Without one the outline is interpolated between drawn slices by its distance. Places that are known
    beside whole slices move the outline around them, along the image.

    Args:
        scan: The scan.
        known: What is known of its label.
        names: Names and values of the classes.
        predictor: Of the model.
        proposal: Its prediction of the scan, where that is there already.
        start: Class values `(X, Y, Z)` to start from, in place of a proposal: as after earlier corrections. Where
            they are `UNKNOWN`, the proposal counts.
        inside: Where the answer may differ from what it starts from, the proposal or nothing; everywhere by default.
        seed: Of the noise that DS draws.

    Raises:
        UsageError: If without a model and a label to start from only single places are known, or without a model a
            part of that label is unknown.
    """
    begun = perf_counter()
    warnings = list(known.warnings)
    if known.mask.all():
        return _finished(scan, known, names, known.classes, None, warnings, begun, predictor)
    uncertainty: NDArray[np.float32] | None = None
    given: NDArray[np.uint8] | None = None
    if start is not None:
        missing = start == UNKNOWN
        count = int((missing & ~known.mask).sum())
        unknown = f"the label to start from is unknown in {count} voxel{'s' * (count != 1)}"
        if count and predictor is None:
            raise UsageError(
                scan.name, f"{unknown} (value {UNKNOWN})", "Name a model that fills it, or draw there"
            )
        found = np.where(missing, known.classes, start)
        if count and predictor is not None:
            proposal = proposal or predictor(scan, seed=seed)
            warnings += proposal.report.warnings
            warnings.append(f"{unknown.capitalize()}; there it is as the model proposes.")
            found = np.where(missing, voxels(proposal.label), start)
            uncertainty = np.where(missing, voxels(proposal.uncertainty), np.float32(0))
        given = found
    elif predictor is None:
        if not known.slices:
            raise UsageError(scan.name, "no model, and no slice is drawn",
                             "Draw in two slices at least, or name a model")  # fmt: skip
        found, uncertainty = _without_model(scan, known, max(names.values(), default=1) + 1)
    else:
        proposal = proposal or predictor(scan, seed=seed)
        warnings += proposal.report.warnings
        found, uncertainty = voxels(proposal.label), voxels(proposal.uncertainty)
        given = found
        wanted = (known.classes > 0) | (found > 0)
        box = _box(wanted, scan) if wanted.any() else None
        if box is not None and any(_slices(known, box).values()):
            found, uncertainty = _with_model(scan, known, box, predictor, proposal, seed)
            if predictor.model.info.recipe.diffusion.completion == 0:
                warnings.append(NOT_LEARNED)
    warnings += _taken_for_absent(known, given, names, started=start is not None)
    found = corrected(
        found, voxels(scan.image), scan.image.GetSpacing(), known.classes, known.mask, uncertainty
    )
    if inside is not None:
        found = np.where(inside, found, 0 if given is None else given).astype(np.uint8)
    return _finished(scan, known, names, found, uncertainty, warnings, begun, predictor)


def _finished(
    scan: Scan,
    known: Known,
    names: Mapping[str, int],
    found: NDArray[np.uint8],
    uncertainty: NDArray[np.float32] | None,
    warnings: list[str],
    begun: float,
    predictor: Predictor | None,
) -> Completion:
    """What was found, with the known voxels as they were drawn."""
    geometry = Geometry.of(scan.image)
    label = known.hold(found)
    doubt = np.zeros(label.shape, np.float32) if uncertainty is None else np.where(known.mask, 0, uncertainty)
    volumes = {
        name: round(int((label == value).sum()) * geometry.voxel_ml, 4) for name, value in names.items()
    }
    info = None if predictor is None else predictor.model.info
    return Completion(
        geometry.place(label), geometry.place(doubt.astype(np.float32)), known.told, volumes, warnings,
        round(perf_counter() - begun, 4), MadeFrom(scan.path, () if info is None else info.recipe.sequences),
        "" if info is None else f"{info.name} version {info.version}",
    )  # fmt: skip


def _taken_for_absent(
    known: Known, given: NDArray[np.uint8] | None, names: Mapping[str, int], *, started: bool
) -> list[str]:
    """A sentence where what is begun has classes in known slices that are drawn nowhere, as of the first of several.

    Args:
        known: What is known of the label.
        given: Class values `(X, Y, Z)` of what is begun; None for nothing.
        names: Names and values of the classes.
        started: Whether that is a label to start from, not a proposal.
    """
    if given is None or not any(known.slices.values()):
        return []
    found = [
        name
        for name, value in names.items()
        if not (known.classes == value).any() and (known.mask & (given == value)).any()
    ]
    if not found:
        return []
    told = ", ".join(found[:LISTED]) + (" and more" if len(found) > LISTED else "")
    are, they, them = ("is", "it is", "it") if len(found) == 1 else ("are", "they are", "them")
    where = "in the label to start from" if started else "proposed"
    return [
        f"{told} {are} {where} in the drawn slices and drawn nowhere, so {they} taken for absent there; "
        f"draw {them} too, or mark what is undecided as unknown."
    ]


def _without_model(scan: Scan, known: Known, classes: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Label and uncertainty by the drawn slices alone; only values that occur cost time and memory."""
    label = np.zeros(known.mask.shape, np.uint8)
    uncertainty = np.zeros(label.shape, np.float32)
    box = _box(known.classes > 0, scan) if known.classes.any() else None
    if box is None or not any(_slices(known, box).values()):
        return label, uncertainty
    values = np.append(np.uint8(0), np.unique(known.classes[known.classes > 0]))
    numbers = np.zeros(UNKNOWN + 1, np.uint8)
    numbers[values] = np.arange(len(values))
    numbered = replace(known, classes=numbers[known.classes])
    distances = _distances(numbered, box, scan, len(values), None)
    label[box] = values[distances.label()]
    uncertainty[box] = entropy(_soft(distances), max(classes, int(values[-1]) + 1))
    return label, uncertainty


def _with_model(
    scan: Scan, known: Known, box: Box, predictor: Predictor, proposal: Prediction, seed: int | None
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    recipe, found = predictor.model.info.recipe, voxels(proposal.label)
    distances = _distances(known, box, scan, recipe.classes, found)
    likely = _soft(distances)
    begun = np.zeros(found.shape, np.uint8)
    begun[box] = distances.label()
    begun = known.hold(begun)
    prepared, device = prepare(scan, recipe), predictor.model.device
    drawn = _on_working_grid(prepared, np.where(known.mask, known.classes, np.uint8(UNKNOWN)))
    denoised = completed_probabilities(
        prepared.image.to(device),
        torch.where(drawn == UNKNOWN, _on_working_grid(prepared, begun), drawn).to(device),
        (drawn != UNKNOWN).to(device),
        recipe,
        predictor.engine.ds,
        seed=seed,
    )
    whole = np.log(likely)
    ds = np.full(likely.shape, np.log(1e-4), np.float32)
    ds[0] = 0
    for where, part in prepared.parts(denoised, 1e-3):
        inner = _common(where, box)
        if inner is not None:
            (i, j, k), (x, y, z) = inner
            ds[:, x, y, z] = np.log(part[:, i, j, k].clip(1e-4))
    whole += ds
    whole -= whole.max(axis=0)
    likely = np.exp(whole)
    likely /= likely.sum(axis=0)
    label, uncertainty = np.zeros(found.shape, np.uint8), np.zeros(found.shape, np.float32)
    label[box] = likely.argmax(axis=0)
    uncertainty[box] = entropy(likely)
    return label, uncertainty


def _box(wanted: NDArray[np.bool_], scan: Scan) -> Box:
    """The part of the scan where a label may be found."""
    x, y, z = (
        slice(max(0, side.start - far), min(size, side.stop + far))
        for side, far, size in zip(
            extent(wanted),
            (int(np.ceil(MARGIN_MM / step)) for step in scan.image.GetSpacing()),
            wanted.shape,
            strict=True,
        )
    )
    return x, y, z


def _slices(known: Known, box: Box) -> dict[int, list[int]]:
    """The known slices that meet a part of the grid, counted from its first."""
    return {
        axis: [index - box[axis].start for index in found if box[axis].start <= index < box[axis].stop]
        for axis, found in known.slices.items()
    }


def _distances(
    known: Known, box: Box, scan: Scan, classes: int, proposal: NDArray[np.uint8] | None
) -> Distances:
    part = None if proposal is None else proposal[box]
    return between_slices(known.classes[box], _slices(known, box), scan.image.GetSpacing(), classes, part)


def _soft(distances: Distances) -> NDArray[np.float32]:
    """Probabilities `(K, X, Y, Z)` of signed distances."""
    logits = np.concatenate([-distances.any[None], np.minimum(distances.classes, distances.any)]) / SOFT_MM
    likely = np.exp(logits - logits.max(axis=0))
    likely /= likely.sum(axis=0)
    return np.asarray(likely.clip(1e-7), np.float32)


def _on_working_grid(prepared: PreparedScan, classes: NDArray[np.uint8]) -> torch.Tensor:
    return classes_on_grid(classes, prepared.original, prepared.working)


def _common(one: Box, other: Box) -> tuple[Box, Box] | None:
    """Where two parts of a grid overlap, as a part of each; None where they do not."""
    first = [max(a.start, b.start) for a, b in zip(one, other, strict=True)]
    last = [min(a.stop, b.stop) for a, b in zip(one, other, strict=True)]
    if any(a >= b for a, b in zip(first, last, strict=True)):
        return None

    def inside(box: Sequence[slice]) -> Any:
        return tuple(slice(a - s.start, b - s.start) for a, b, s in zip(first, last, box, strict=True))

    return inside(one), inside(other)

"""What a recipe leaves open, chosen from the scans, each choice with its reason."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffcl.data.modality import modality_remark
from diffcl.errors import DataError
from diffcl.planning.differences import differences
from diffcl.planning.parts import check_coarsening, check_wavelets
from diffcl.planning.shapes import Triple
from diffcl.planning.size import (
    BLOCKS,
    COARSE_ACROSS,
    FILTERS,
    FINE_CROP,
    THICK,
    TOKENS,
    Voxels,
    crop_voxels,
    extents,
    nearest_sides,
    planned_coarsening,
    planned_crop,
    planned_levels,
    planned_spacing,
    thinnest,
    typical_spacing,
)
from diffcl.planning.survey import Survey
from diffcl.recipe import Intensity, Recipe, parse_recipe
from diffcl.recipe.networks import holds_wavelet
from diffcl.recipe.preparation import LARGEST_WINDOW
from diffcl.recipe.section import LONGEST_SIDE

ONE_PIECE = 0.9
"""Share of a class that its largest piece has in every label, where the class is taken for a single piece."""

MIRRORED = 0.2
"""Share of the labels in which two classes lie the other way round, from which on mirrored scans occur."""

ENOUGH_TO_SEE_MIRRORS = 4
"""Labels, at least, before a mirrored crop may be made up."""

WINDOW_MARGIN = 0.15
"""Of the range of the values inside the classes that a window shows beyond either end."""

NARROWEST_WINDOW = 300.0
"""Hounsfield units."""

NO_HOUNSFIELD = 100_000.0
"""Values this far from water are in no Hounsfield units: bone has 3,000 at most, metal 30,000."""

AWAY = 0.5
"""Of the thickness of a slice: how far a rotation out of the plane may move what lies at the edge of a crop."""

OVERLAP = 0.5
"""Of neighbouring windows: in the abdomen a quarter has 0.8 points of Dice less and takes two thirds of the time."""

LEAST_START = 300
"""Steps on labelled crops alone at least, before pseudo-labels teach."""

LEAST_START_OF_A_CLASS = 100
"""The same for each class, where there are many: one that the teachers have not learned is background to them."""

MOST_PASTED = 3
"""Classes, at most, of labelled crops that are pasted into each other before there are pseudo-labels: three of a heart
gain by it, thirteen of an abdomen lose."""

COARSE_START = 0.35
"""Share of a time for learning in which crops have coarser voxels."""


@dataclass(frozen=True)
class Choice:
    """A field of a recipe and why it has its value.

    Attributes:
        section: Of the recipe.
        field: Of the section.
        value: What was chosen, or what the recipe gives.
        reason: A sentence.
        given: Whether the recipe gives it.
    """

    section: str
    field: str
    value: Any
    reason: str
    given: bool = False


def choose(recipe: Recipe, found: Survey, minutes: float | None = None) -> tuple[Recipe, list[Choice]]:
    """A recipe with everything chosen that it leaves open.

    Args:
        recipe: What it gives stays.
        found: The scans and labels.
        minutes: That a training may take; an hour or more, where nothing is said.

    Raises:
        DataError: If there is no scan with a label to plan from.
        RecipeError: If the recipe asks for a part that cannot work on these scans.
    """
    if not any(scan.classes for scan in found.labelled):
        what = "every label to plan from is empty" if found.labelled else "no scan with a label to plan from"
        raise DataError(recipe.name, what, "Outline one, or give the settings in the recipe")
    book = _Book(recipe)
    differ = differences(found)
    found = _axes(book, found, minutes)
    _size(book, found, minutes, differ)
    _intensity(book, found)
    _sequences(book, found)
    _training(book, minutes)
    _augmentation(book, found)
    _inference(book, found)
    check_wavelets(book.recipe)
    return parse_recipe(
        {**book.recipe.model_dump(exclude_unset=True), "planned": False}, recipe.name
    ), book.choices


def missing_classes(recipe: Recipe, found: Survey) -> list[str]:
    """Names of the classes that are in none of the labels that were looked at."""
    return [entry.name for entry in recipe.labels if not found.of_class(entry.value)]


class _Book:
    """The choices so far; what the recipe gives is never chosen anew.

    Args:
        recipe: To start from.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.choices: list[Choice] = []

    def given(self, section: str, *fields: str) -> bool:
        """Whether the recipe gives any of some fields."""
        return bool({*fields} & getattr(self.recipe, section).model_fields_set)

    def take(self, reasons: dict[tuple[str, str], tuple[Any, str]]) -> None:
        """Choose some fields together, as they depend on each other."""
        changes: dict[str, dict[str, Any]] = {}
        for (section, field), (value, reason) in reasons.items():
            if self.given(section, field):
                own = getattr(getattr(self.recipe, section), field)
                self.choices.append(Choice(section, field, own, "The recipe gives it.", given=True))
            else:
                changes.setdefault(section, {})[field] = value
                self.choices.append(Choice(section, field, value, reason))
        self.recipe = self.recipe.changed(**changes)

    def take_sequence(self, number: int, intensity: Intensity, reason: str) -> None:
        """Choose the intensities of a sequence."""
        content = self.recipe.model_dump(exclude_unset=True)
        one = {**content["sequences"][number], "intensity": intensity.model_dump()}
        content["sequences"] = [*content["sequences"][:number], one, *content["sequences"][number + 1 :]]
        self.recipe = parse_recipe(content, self.recipe.name)
        ends = f"{intensity.method} {intensity.low:g}..{intensity.high:g}"
        self.choices.append(Choice(f"sequences.{one['name']}", "intensity", ends, reason))


def _axes(book: _Book, found: Survey, minutes: float | None) -> Survey:
    """Choose the axes of the working grid; what is known of the scans along these."""
    if found.slices is None or book.given("grid", "spacing"):
        return found.slices if found.slices and book.recipe.grid.axes == "slices" else found
    slices = found.slices
    spacing = _spacing(slices, book.recipe.classes, minutes)
    apart = max(spacing) > THICK * min(spacing)
    value, told = (
        ("slices", "Rows, columns and slices as they were taken, however they lie to the patient.")
        if apart
        else ("patient", "The voxels that the networks see are about as long as they are wide.")
    )
    book.take({("grid", "axes"): (value, told)})
    return slices if book.recipe.grid.axes == "slices" else found


def _spacing(found: Survey, classes: int, minutes: float | None) -> Triple:
    """The voxel size that is planned for the scans along the axes by which they were looked at, mm."""
    return planned_spacing(
        typical_spacing(found), extents(found)[0], thinnest(found, classes), crop_voxels(minutes)
    )


def _size(book: _Book, found: Survey, minutes: float | None, differ: str) -> None:
    recipe, voxels = book.recipe, crop_voxels(minutes)
    own, (typical, largest) = typical_spacing(found), extents(found)
    thin = thinnest(found, recipe.classes)
    spacing = recipe.grid.spacing
    if not book.given("grid", "spacing"):
        spacing = _spacing(found, recipe.classes, minutes)
    if book.given("ds", "coarsening") and thin is not None:
        check_coarsening(recipe, spacing, thin)
    wanted = recipe.grid.crop if book.given("grid", "crop") else planned_crop(spacing, typical, voxels)
    levels = planned_levels(spacing, wanted)
    small = math.prod(wanted) <= FINE_CROP or len(levels.strides) < 2 or not recipe.ds.diffusion
    coarse = (1, 1, 1) if small else planned_coarsening(spacing, thin, levels.strides[0])
    fine = max(coarse) == 1
    of_ds = slice(None) if fine else slice(1, None)
    count = len(levels.kernels)
    tokens = [math.prod(wanted) / math.prod(steps) for steps in _passed(levels.strides)]
    fit = nearest_sides(wanted, levels.grains)
    modules = [
        level
        for level in (0, 1)
        if level < count - 1 and tokens[level] <= TOKENS and holds_wavelet(fit, levels.strides, level)
    ]
    shape: dict[str, Any] = {
        "filters": list(FILTERS[:count]),
        "blocks": list(BLOCKS[:count]),
        "strides": list(levels.strides),
        "kernels": list(levels.kernels),
    }
    why = {
        "filters": f"{count} levels, as many as the crop can be halved to.",
        "blocks": "One convolution on the finest level, where it is dear, and two on the others.",
        "strides": "Long voxels are halved in their plane until they are about as wide; none below 4 voxels.",
        "kernels": "Slices much thicker than their pixels are read by themselves.",
    }
    changes: dict[tuple[str, str], tuple[Any, str]] = {}
    if not book.given("cs", *shape):
        changes |= {("cs", name): (value, why[name]) for name, value in shape.items()}
        if not book.given("cs", "hf_mamba_levels"):
            told = f"The levels whose half-size grid has at most {TOKENS} voxels."
            changes["cs", "hf_mamba_levels"] = (modules, told)
    if not book.given("ds", *shape, "coarsening"):
        told = "A sense of shape needs no fine grid."
        if fine:
            told = "So few voxels cost little."
            if not small:
                told = f"Of coarser voxels a class of {thin:.1f} mm would have fewer than {COARSE_ACROSS:g} across."
        changes["ds", "coarsening"] = (list(coarse), told)
        widths = shape["filters"] if fine else shape["filters"][1:]
        parts = {"filters": widths, "blocks": [2] * len(widths) if not fine else shape["blocks"]}
        parts |= {"strides": shape["strides"][of_ds], "kernels": shape["kernels"][of_ds]}
        changes |= {("ds", name): (value, "Those of CS from there on.") for name, value in parts.items()}
    grains = _grains(recipe, changes)
    crop = nearest_sides(wanted, grains)
    whole = all(
        side >= math.floor(length / step) for side, length, step in zip(wanted, typical, spacing, strict=True)
    )
    whole_window = nearest_sides(planned_crop(spacing, largest, LARGEST_WINDOW), grains, above=True)
    fits = math.prod(whole_window) <= 3 * math.prod(crop) and max(whole_window) <= LONGEST_SIDE
    window = whole_window if whole and fits else crop
    thickness = "" if thin is None else f" The thinnest class is about {thin:.1f} mm thick."
    guessed = [
        entry.name for entry in recipe.labels if any(one.guessed for one in found.of_class(entry.value))
    ]
    if guessed:
        thickness += f" That of {', '.join(guessed)} is guessed: no label of it is drawn as a whole."
    sizes = " x ".join(f"{one:.3g}" for one in own)
    grid: dict[tuple[str, str], tuple[Any, str]] = {
        ("grid", "spacing"): (
            list(spacing),
            f"The scans have {sizes} mm; coarser as far as a crop of {voxels} voxels asks for it.{thickness}{differ}",
        ),
        ("grid", "crop"): (list(crop), "A whole scan." if whole else f"A box of at most {voxels} voxels."),
        ("grid", "window"): (
            list(window),
            "The largest scan in one window." if window == whole_window else "Like the crop.",
        ),
    }
    book.take(grid | changes)


def _passed(strides: Sequence[Voxels]) -> list[Voxels]:
    """The halvings from the finest level down to each coarser one."""
    x = y = z = 1
    found = []
    for a, b, c in strides:
        x, y, z = x * a, y * b, z * c
        found.append((x, y, z))
    return found


def _grains(recipe: Recipe, changes: dict[tuple[str, str], tuple[Any, str]]) -> Voxels:
    """The grains of a recipe once its networks are changed."""
    networks: dict[str, dict[str, Any]] = {"cs": {}, "ds": {}}
    for (section, field), (value, _) in changes.items():
        networks[section][field] = value
    content = recipe.model_dump(exclude_unset=True)
    shapes = {name: {**content.get(name, {}), **fields} for name, fields in networks.items()}
    return parse_recipe(
        {"name": recipe.name, "labels": content["labels"], **shapes} | _fits_all, recipe.name
    ).grains


_fits_all = {"grid": {"crop": [256] * 3, "window": [256] * 3}}


def _intensity(book: _Book, found: Survey) -> None:
    recipe = book.recipe
    remark = modality_remark({scan.name: scan.kind for scan in found.scans}, recipe.modality)
    remark = f" {remark}" if remark else ""
    if recipe.modality != "CT":
        told = f"MR has no unit, so each scan is scaled by its own brightest and darkest voxels.{remark}"
        book.take({("intensity", "method"): ("percentile", told)})
        return
    if book.given("intensity", "method", "low", "high"):
        return
    for scan in found.labelled:
        if scan.tissue and max(map(abs, scan.tissue)) > NO_HOUNSFIELD:
            ends = f"{scan.tissue[0]:g}..{scan.tissue[1]:g}"
            raise DataError(scan.name, f"has values of {ends} inside the classes, which are no Hounsfield units",
                            'Give the scans in these, or say modality = "MR"')  # fmt: skip
    low, high, told = _window([scan.tissue for scan in found.labelled if scan.tissue])
    book.take(
        {
            ("intensity", "method"): ("window", f"CT has a unit.{remark}"),
            ("intensity", "low"): (low, told),
            ("intensity", "high"): (high, told),
        }
    )


def _window(ends: Sequence[tuple[float, float]]) -> tuple[float, float, str]:
    """Ends of a window of Hounsfield units around those of the values inside the classes, and why."""
    low, high = (float(np.median(side)) for side in np.array(ends).T)
    margin = max(WINDOW_MARGIN * (high - low), (NARROWEST_WINDOW - (high - low)) / 2)
    told = f"Hounsfield units: the classes lie between {low:.0f} and {high:.0f}, and what is around them is shown too."
    return round((low - margin) / 5) * 5.0, round((high + margin) / 5) * 5.0, told


def _sequences(book: _Book, found: Survey) -> None:
    """How the values of each further sequence are made comparable, which its modality decides."""
    for number, one in enumerate(book.recipe.sequences):
        if number == 0 or one.intensity is not None:
            continue
        ends = [ends for scan in found.labelled if scan.others and (ends := scan.others[number - 1])]
        told = f"{one.modality or 'MR'} has no unit, so each scan is scaled by its own brightest and darkest voxels."
        chosen = Intensity()
        if (one.modality or book.recipe.modality) == "CT" and ends:
            low, high, told = _window(ends)
            chosen = Intensity(method="window", low=low, high=high)
        book.take_sequence(number, chosen, told)


def _training(book: _Book, minutes: float | None) -> None:
    recipe = book.recipe
    coarse, told = _coarse_start(recipe, minutes)
    least = max(LEAST_START, LEAST_START_OF_A_CLASS * len(recipe.labels))
    unlearned = "A class that the networks have not learned they would teach as background."
    small = "More and smaller steps learn more in the same time."
    several = len(recipe.labels) > 1
    pasted = (0.8, "Pasted into each other, a few labelled scans are more like the others.")
    if math.prod(recipe.grid.crop) <= FINE_CROP:
        pasted = (0.0, "A small crop holds little beside the organ, and teaches more as it is.")
    elif len(recipe.labels) > MOST_PASTED:
        pasted = (0.0, "Of many classes the small ones are found later in crops that are pasted together.")
    crops = [
        getattr(recipe.training, f"{kind}_crops")
        for kind in ("labelled", "unlabelled")
        if book.given("training", f"{kind}_crops")
    ] or [1]
    choices: dict[tuple[str, str], tuple[Any, str]] = {
        ("training", "start_crops"): (1, small),
        ("training", "labelled_crops"): (crops[-1], small),
        ("training", "unlabelled_crops"): (crops[0], small),
        ("training", "supervised_start"): (min(least, recipe.training.steps // 2), unlearned),
        ("training", "least_start"): (least, f"{unlearned[:-1]}; half of a short run at most."),
        ("training", "coarse_start"): (coarse, told),
        ("training", "mix"): (0.8, "Crops pasted into each other teach more than crops alone."),
        ("training", "start_mix"): pasted,
        ("training", "mixed_sides"): (1, "Half the work of a mixed step."),
        ("training", "class_balanced"): (
            several,
            "Small classes are seen as often as large ones." if several else "There is one class.",
        ),
        ("diffusion", "late"): (4.0, "Earlier steps show DS the label map through its noise."),
        ("diffusion", "completion"): (0.5, "So DS learns to finish a label of which a part is drawn."),
        ("losses", "pseudo_label_time"): (0.6, "DS corrects the outline of CS rather than finding its own."),
    }
    if crops[0] != crops[-1]:
        del choices["training", "mix"]
    book.take(choices)


def _coarse_start(recipe: Recipe, minutes: float | None) -> tuple[float, str]:
    """The share of a training in which crops have coarser voxels, and why."""
    if minutes is None:
        return 0.0, "The training has a number of steps, not a time."
    if math.prod(recipe.grid.crop) <= FINE_CROP or not recipe.holds_coarser_crops:
        return 0.0, "Crops are so small that their steps are cheap."
    return (
        COARSE_START,
        "At first, many steps on coarser voxels learn more than a few on fine ones.",
    )


def _augmentation(book: _Book, found: Survey) -> None:
    recipe = book.recipe
    flips, told = _mirrors(recipe, found)
    choices: dict[tuple[str, str], tuple[Any, str]] = {("augmentation", "flip"): ([flips, 0.0, 0.0], told)}
    sides = [count * length for count, length in zip(recipe.grid.crop, recipe.grid.spacing, strict=True)]
    thick = max(recipe.grid.spacing)
    axis = recipe.grid.spacing.index(thick)
    if thick > 2 * min(recipe.grid.spacing):
        far = max(side for other, side in enumerate(sides) if other != axis) / 2
        out = round(math.degrees(math.asin(min(1.0, AWAY * thick / far))), 1)
        angles = [15.0 if other == axis else min(15.0, out) for other in range(3)]
        choices["augmentation", "rotate"] = (
            angles,
            f"In the plane; out of it no voxel moves by more than half a slice of {thick:g} mm.",
        )
    book.take(choices)


def _mirrors(recipe: Recipe, found: Survey) -> tuple[float, str]:
    """How often a crop is mirrored, and why."""
    pairs = 0
    for one in range(1, recipe.classes):
        for other in range(one + 1, recipe.classes):
            ways = [
                scan.classes[one].centre[0] > scan.classes[other].centre[0]
                for scan in found.labelled
                if scan.classes and one in scan.classes and other in scan.classes
                if not scan.classes[one].guessed
            ]
            if len(ways) >= ENOUGH_TO_SEE_MIRRORS:
                pairs += 1
                share = sum(ways) / len(ways)
                if min(share, 1 - share) < MIRRORED:
                    names = f"{recipe.labels[one - 1].name} and {recipe.labels[other - 1].name}"
                    return 0.0, f"Mirrored, {names} would lie the wrong way round."
    if pairs:
        return 0.5, "The classes lie either way round, as on both sides of a body."
    return 0.0, "Nothing shows that the mirrored organ occurs."


def _of_one_piece(recipe: Recipe, found: Survey) -> tuple[bool | list[int], str]:
    """Which classes keep their largest piece alone, and why."""
    several: dict[str, float] = {}
    for entry in recipe.labels:
        share = min((one.largest for one in found.of_class(entry.value)), default=1.0)
        if share < ONE_PIECE:
            several[entry.name] = share
    if not several:
        return True, "Every class is one piece in every label; a second one is a mistake."
    told = ", ".join(f"of {name} is {100 * share:.0f} %" for name, share in several.items())
    single = [entry.value for entry in recipe.labels if entry.name not in several]
    rest = "of any other class a second piece is a mistake." if single else "so all pieces stay."
    return single or False, f"In a label the largest piece {told} of it; {rest}"


def _inference(book: _Book, found: Survey) -> None:
    recipe = book.recipe
    single, told = _of_one_piece(recipe, found)
    book.take(
        {
            ("diffusion", "sampling_steps"): (
                1,
                "More DDIM steps cost as much each and add next to nothing.",
            ),
            ("losses", "largest_component"): (single, told),
            ("inference", "largest_component"): (single, told),
            ("inference", "overlap"): (
                OVERLAP,
                "Of windows, where a scan takes several; less costs accuracy.",
            ),
        }
    )

"""How much work do drawn slices and clicks save?

    python benchmarks/interaction.py --data DIR --model hippocampus --scans 10 --plane 2 --plot picture.png

A simulated annotator works on the first of the validation scans, which are the last lines of `train.txt`. He draws
slices of one plane as the true label has them, in the middles of as many equal parts of the structure, or clicks time
and again at the deepest place of what is wrong. Medians of Dice, the mean over the classes, over the scans.

- `completion`: drawn slices, the model and DS. `interpolation`: the drawn slices alone. `pasted`: the proposal, with
  the drawn slices in it. `scribbles`: the drawn slices as strokes for MONAI Label's own method, see `by_graph_cut`.
- `clicks`: the proposal, corrected along the image. `random walker`: the same clicks as seeds, and as further seeds all
  that lies deep inside or outside the outline of the proposal, see `DEEP_MM`. `whole pieces`: what clicks could bring
  at most, if each mended the whole connected piece of wrong voxels that it lies in, and nothing else.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import date
from pathlib import Path
from time import perf_counter

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from monailabel.scribbles.utils import make_iseg_unary, make_likelihood_image_histogram, maxflow
from numpy.typing import NDArray
from processor import processor
from report import show
from scipy.ndimage import distance_transform_edt
from scipy.ndimage import label as pieces
from skimage.segmentation import random_walker

from diffcl.data.cases import find_cases
from diffcl.data.preprocess import to_classes
from diffcl.geometry import Geometry, extent, voxels
from diffcl.inference import Prediction, Predictor
from diffcl.inference.interactive.clicks import corrected
from diffcl.inference.interactive.completion import complete
from diffcl.inference.interactive.known import decided
from diffcl.io import Scan, read_label, read_scan
from diffcl.models import ModelRegistry
from diffcl.resources import models_folder

Label = NDArray[np.uint8]

BACKGROUND, FOREGROUND = 2, 3
"""Values of strokes, as MONAI Label has them."""

DEEP_MM = 4.0
"""What lies deeper inside or outside the outline of the proposal is a seed of the random walker.

Of a thinner class, what lies deeper than half of its deepest place.
"""


def dice(label: Label, truth: Label, classes: int) -> float:
    """Mean over the classes."""
    found = []
    for value in range(1, classes):
        total = int((label == value).sum() + (truth == value).sum())
        found.append(2 * int(((label == value) & (truth == value)).sum()) / total if total else 1.0)
    return float(np.mean(found))


def chosen_slices(truth: Label, axis: int, count: int) -> list[int]:
    """The middles of as many equal parts of the structure along an axis."""
    side = extent(truth > 0)[axis]
    return sorted(
        {int(side.start + (side.stop - side.start) * (part + 0.5) / count) for part in range(count)}
    )


def next_click(label: Label, truth: Label, spacing: tuple[float, ...]) -> tuple[tuple[int, ...], int] | None:
    """The deepest place of what is wrong, in millimetres, and its true class; None where nothing is wrong."""
    best, click = 0.0, None
    for value in np.unique(truth[truth != label]).tolist():
        wrong = (truth == value) & (label != value)
        box = extent(wrong)
        depth = distance_transform_edt(np.pad(wrong[box], 1), spacing)[1:-1, 1:-1, 1:-1]
        place = np.unravel_index(depth.argmax(), depth.shape)
        if depth[place] > best:
            best = float(depth[place])
            click = tuple(int(i + side.start) for i, side in zip(place, box, strict=True)), value
    return click


def by_whole_pieces(label: Label, truth: Label, spacing: tuple[float, ...]) -> Label:
    """The label with the whole connected piece of wrong voxels mended that the next click lies in."""
    if not (found := next_click(label, truth, spacing)):
        return label
    place, value = found
    numbered, _ = pieces((truth == value) & (label != value), np.ones((3, 3, 3)))
    return np.where(numbered == numbered[place], truth, label)


def by_random_walker(
    scan: Scan, proposal: Label, classes: Label, mask: NDArray[np.bool_], count: int
) -> Label:
    """The label by a random walker between the clicks and what is deep in the proposal."""
    spacing = np.asarray(scan.image.GetSpacing())
    box = tuple(
        slice(max(0, side.start - int(8 / step)), side.stop + int(8 / step))
        for side, step in zip(extent((proposal > 0) | mask), spacing, strict=True)
    )
    own, image = proposal[box], voxels(scan.image)[box].astype(np.float64)
    seeds = np.zeros(own.shape, np.int32)
    for value in range(count):
        depth = distance_transform_edt(own == value, spacing)
        seeds[depth > min(DEEP_MM, depth.max() / 2)] = value + 1
    seeds[mask[box]] = classes[box][mask[box]] + 1
    found = proposal.copy()
    values = (image - image.mean()) / image.std()
    found[box] = (
        random_walker(values, seeds, beta=100, mode="cg_j", tol=1e-4, prob_tol=1e-2, spacing=spacing) - 1
    )
    found[mask] = classes[mask]
    return found


def by_graph_cut(scan: Scan, classes: Label, mask: NDArray[np.bool_], count: int) -> Label:
    """The label by MONAI Label's histogram likelihood and graph cut, a class after the other.

    The parts and numbers are those of its `HistogramBasedGraphCut`, but for the intensities, which it takes for
    Hounsfield units: here the range 0..1 is that of the scan. It is computed on the scan's own grid, in the box of what
    is drawn and 8 mm around it, where a client would place its region of interest.

    Args:
        scan: The scan.
        classes: Class values that are drawn `(X, Y, Z)`.
        mask: Which voxels are drawn.
        count: Number of classes with background.
    """
    box = tuple(
        slice(max(0, side.start - int(8 / step)), side.stop + int(8 / step))
        for side, step in zip(extent(classes > 0), scan.image.GetSpacing(), strict=True)
    )
    values = voxels(scan.image).astype(np.float32)
    low, high = np.percentile(values, (0.5, 99.5))
    image = np.clip((values[box] - low) / (high - low), 0, 1)[None]
    best, found = np.full(image.shape[1:], 0.5, np.float32), np.zeros(classes.shape, np.uint8)
    for value in range(1, count):
        strokes = np.where(mask, np.where(classes == value, FOREGROUND, BACKGROUND), 0)[box][None]
        likely = make_likelihood_image_histogram(image, strokes, BACKGROUND, FOREGROUND)
        likely = likely / likely.sum(axis=0)
        unary = make_iseg_unary(likely, strokes, BACKGROUND, FOREGROUND)
        inside = maxflow(image, unary, lamda=1.0, sigma=0.1)[0] > 0
        found[box][inside & (likely[1] >= best)] = value
        best = np.where(inside, np.maximum(best, likely[1]), best)
    found[mask] = classes[mask]
    return found


class Annotator:
    """A simulated person with the true label of a scan.

    Args:
        scan: The scan.
        truth: Class values `(X, Y, Z)`.
        predictor: Of the model.
    """

    def __init__(self, scan: Scan, truth: Label, predictor: Predictor) -> None:
        self.scan, self.truth, self.predictor = scan, truth, predictor
        self.recipe = predictor.model.info.recipe
        self.names = {label.name: label.value for label in self.recipe.labels}
        self.proposal: Prediction = predictor(scan)
        self.seconds: dict[str, list[float]] = {"completion": [], "click": []}

    def score(self, label: Label) -> float:
        """Dice of a label."""
        return dice(label, self.truth, self.recipe.classes)

    def draw(self, axis: int, count: int) -> dict[str, float]:
        """Dice by each method after so many slices."""
        drawn = np.zeros_like(self.truth)
        where = [slice(None)] * 3
        where[axis] = chosen_slices(self.truth, axis, count)  # type: ignore[call-overload]
        drawn[tuple(where)] = self.truth[tuple(where)]
        known = decided(drawn, drawn == 255, "slices", self.scan.name, Geometry.of(self.scan.image))
        with_model = complete(self.scan, known, self.names, predictor=self.predictor, proposal=self.proposal)
        self.seconds["completion"].append(with_model.seconds)
        alone = complete(self.scan, known, self.names)
        label = voxels(with_model.label)
        changed = int((label[known.mask] != self.truth[known.mask]).sum())
        if changed:
            raise AssertionError(f"{self.scan.name}: {changed} known voxels changed")
        return {
            "completion": self.score(label),
            "interpolation": self.score(voxels(alone.label)),
            "pasted": self.score(known.hold(voxels(self.proposal.label))),
            "scribbles": self.score(by_graph_cut(self.scan, known.classes, known.mask, self.recipe.classes)),
        }

    def mend_pieces(self, most: int) -> list[float]:
        """Dice after 0, 1, 2... clicks that mend a whole piece of wrong voxels each."""
        label = voxels(self.proposal.label)
        scores = [self.score(label)]
        for _ in range(most):
            label = by_whole_pieces(label, self.truth, self.scan.image.GetSpacing())
            scores.append(self.score(label))
        return scores

    def click(self, most: int, walk_at: list[int]) -> tuple[list[float], list[float]]:
        """Dice after 0, 1, 2... clicks, and by the random walker where that is asked."""
        proposal = voxels(self.proposal.label)
        image, doubt = voxels(self.scan.image), voxels(self.proposal.uncertainty)
        classes, mask = np.zeros_like(proposal), np.zeros(proposal.shape, bool)
        label, scores, walked = proposal, [self.score(proposal)], []
        for count in range(1, most + 1):
            if found := next_click(label, self.truth, self.scan.image.GetSpacing()):
                place, value = found
                classes[place], mask[place] = value, True
            begin = perf_counter()
            label = corrected(proposal, image, self.scan.image.GetSpacing(), classes, mask, doubt)
            self.seconds["click"].append(perf_counter() - begin)
            scores.append(self.score(label))
            if count in walk_at:
                other = by_random_walker(self.scan, proposal, classes, mask, self.recipe.classes)
                walked.append(self.score(other))
        return scores, walked


def draw_picture(
    slices: dict[str, dict[int, float]], clicks: dict[str, dict[int, float]], path: Path, title: str
) -> None:
    """Curves of Dice over drawn slices and over clicks."""
    mpl.use("Agg")
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=False)
    for axis, curves, name in ((axes[0], slices, "drawn slices"), (axes[1], clicks, "clicks")):
        for method, points in curves.items():
            axis.plot(list(points), list(points.values()), marker="o", label=method)
        axis.set(xlabel=name, ylabel="Dice, median")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    figure.suptitle(title)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with images/, labels/ and train.txt")
    parser.add_argument("--model", required=True)
    parser.add_argument("--store", type=Path, default=Path("models"))
    parser.add_argument("--validation", type=int, default=16, help="validation scans at the end of train.txt")
    parser.add_argument("--scans", type=int, default=10, help="of them, the first so many")
    parser.add_argument("--plane", type=int, default=2, help="axis of the file across which slices are drawn")
    parser.add_argument("--slices", type=int, nargs="*", default=[3, 4, 5, 6, 8, 10])
    parser.add_argument("--clicks", type=int, default=8)
    parser.add_argument("--walk-at", type=int, nargs="*", default=[6])
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", action="store_true")
    wanted = parser.parse_args(arguments)
    walk_at = [count for count in wanted.walk_at if count <= wanted.clicks]
    predictor = Predictor(ModelRegistry(wanted.store, models_folder()).load(wanted.model, "cpu"))
    recipe = predictor.model.info.recipe
    cases = find_cases(wanted.data, labelled=1, validation=wanted.validation).validation[: wanted.scans]
    drawn: dict[tuple[str, int], list[float]] = {}
    clicked, mended, walked, seconds = [], [], [], {"completion": [], "click": []}  # type: ignore[var-annotated]
    for case in cases:
        scan = read_scan(case.image)
        truth = voxels(to_classes(read_label(case.label), Geometry.of(scan.image), recipe, case.label))
        annotator = Annotator(scan, truth, predictor)
        for count in wanted.slices:
            for method, score in annotator.draw(wanted.plane, count).items():
                drawn.setdefault((method, count), []).append(score)
        scores, by_walker = annotator.click(wanted.clicks, walk_at)
        clicked.append(scores)
        mended.append(annotator.mend_pieces(wanted.clicks))
        walked.append(by_walker)
        for name, times in annotator.seconds.items():
            seconds[name] += times
        print(f"{case.name}: proposal {scores[0]:.3f}", flush=True)

    def median(values: object) -> float:
        return round(float(np.median(values)), 3)  # type: ignore[call-overload]

    middle: Callable[[str], dict[int, float]] = lambda method: {  # noqa: E731
        count: median(values) for (name, count), values in drawn.items() if name == method
    }
    proposal = median([scores[0] for scores in clicked])
    slices = {method: {0: proposal} | middle(method) for method in ("completion", "pasted")}
    slices |= {method: middle(method) for method in ("interpolation", "scribbles")}
    clicks = {
        name: dict(enumerate(median(column) for column in zip(*rows, strict=True)))
        for name, rows in (("clicks", clicked), ("whole pieces", mended))
    }
    if walk_at:
        columns = zip(walk_at, zip(*walked, strict=True), strict=True)
        clicks["random walker"] = {0: proposal} | {at: median(column) for at, column in columns}
    result = {
        "model": f"{wanted.model} {predictor.model.info.version}",
        "scans": len(clicked),
        "plane": wanted.plane,
        **{f"slices, {method}": points for method, points in slices.items()},
        **clicks,
        **{f"seconds of a {name}, median": median(times) for name, times in seconds.items() if times},
        "processor": processor(),
        "date": str(date.today()),
    }
    show(result, as_json=wanted.json)
    if wanted.plot:
        draw_picture(slices, clicks, wanted.plot, f"{result['model']}, {len(clicked)} validation scans")


if __name__ == "__main__":
    main()

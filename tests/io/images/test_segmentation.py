"""Segmentations as 3D Slicer writes them; the header lines are those of its files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from diffcl.data.preprocess import to_classes
from diffcl.errors import DataError, ScanError
from diffcl.geometry import Geometry, same_grid, voxels
from diffcl.io import is_label, is_scan, read_label
from diffcl.io.images.segmentation import segments_of
from diffcl.recipe import load_recipe


def write(
    path: Path, layers: np.ndarray, grid: Geometry, segments: list[tuple[str, int | None, int | None]]
) -> Path:
    """Write layers `(L, X, Y, Z)`, or `(X, Y, Z)` as one, with segments of a name, value and layer."""
    steps = (grid.axes * grid.spacing).T.tolist()
    places = [f"({','.join(map(repr, step))})" for step in steps]
    kinds = ["domain"] * 3
    if layers.ndim == 4:
        places, kinds = ["none", *places], ["list", *kinds]
    lines = [
        "NRRD0004", "type: unsigned char", f"dimension: {layers.ndim}", "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, layers.shape))}", f"space directions: {' '.join(places)}",
        f"kinds: {' '.join(kinds)}", "encoding: raw", f"space origin: ({','.join(map(repr, grid.origin))})",
    ]  # fmt: skip
    for number, (name, value, layer) in enumerate(segments):
        lines += [f"Segment{number}_ID:=Segment_{number + 1}", f"Segment{number}_Name:={name}"]
        lines += [] if value is None else [f"Segment{number}_LabelValue:={value}"]
        lines += [] if layer is None else [f"Segment{number}_Layer:={layer}"]
    path.write_bytes(("\n".join(lines) + "\n\n").encode() + layers.astype(np.uint8).tobytes(order="F"))
    return path


@pytest.fixture
def grid(label: sitk.Image) -> Geometry:
    return Geometry.of(label)


@pytest.fixture
def truth(label: sitk.Image) -> np.ndarray:
    return voxels(label)


@pytest.mark.parametrize(
    "segments",
    [[("head", 1, 0), ("tail", 1, 1)], [("head", None, None), ("tail", None, None)]],
    ids=["as today", "as Slicer 4.10"],
)
def test_layers_are_merged_and_numbered_where_nothing_overlaps(
    truth: np.ndarray, grid: Geometry, tmp_path: Path, segments: list[tuple[str, int | None, int | None]]
) -> None:
    layers = np.stack([truth == 1, truth == 2])
    path = write(tmp_path / "p07.seg.nrrd", layers, grid, segments)
    read = read_label(path)
    np.testing.assert_array_equal(voxels(read), truth)
    assert same_grid(Geometry.of(read), grid)
    assert [(one.name, one.value) for one in segments_of(path)] == [("head", 1), ("tail", 2)]


def test_segments_keep_values_that_differ(truth: np.ndarray, grid: Geometry, tmp_path: Path) -> None:
    layers = np.stack([(truth == 1) * 7, (truth == 2) * 4])
    path = write(tmp_path / "p07.seg.nrrd", layers, grid, [("head", 7, 0), ("tail", 4, 1)])
    np.testing.assert_array_equal(voxels(read_label(path)), np.array([0, 7, 4])[truth])


def test_segments_that_overlap_are_refused_by_name(truth: np.ndarray, grid: Geometry, tmp_path: Path) -> None:
    layers = np.stack([truth == 1, truth >= 1])
    path = write(tmp_path / "p07.seg.nrrd", layers, grid, [("head", 1, 0), ("whole", 1, 1)])
    with pytest.raises(ScanError, match=r"segments overlap \(head and whole\)"):
        read_label(path)


def test_a_value_that_is_no_segment_is_refused(truth: np.ndarray, grid: Geometry, tmp_path: Path) -> None:
    path = write(tmp_path / "p07.seg.nrrd", np.stack([truth, truth * 0]), grid, [("head", 1, 0)])
    with pytest.raises(ScanError, match="value 2 of layer 0 is no segment"):
        read_label(path)


def test_a_segmentation_of_one_layer_is_a_label_and_no_scan(
    truth: np.ndarray, grid: Geometry, tmp_path: Path
) -> None:
    path = write(tmp_path / "p07.seg.nrrd", truth, grid, [("head", 1, 0), ("tail", 2, 0)])
    np.testing.assert_array_equal(voxels(read_label(path)), truth)
    assert is_label(path)
    assert not is_scan(path)


def test_a_label_cropped_to_its_segments_lies_on_the_scan(
    truth: np.ndarray, grid: Geometry, tmp_path: Path
) -> None:
    recipe = load_recipe("hippocampus")
    box = (slice(1, 8), slice(2, 10), slice(1, 6))
    path = write(tmp_path / "p07.seg.nrrd", truth[box], grid.part(box), [("a", 1, 0), ("b", 2, 0)])
    assert truth[box].astype(bool).sum() == truth.astype(bool).sum()
    np.testing.assert_array_equal(voxels(to_classes(read_label(path), grid, recipe, path)), truth)


def test_a_label_that_reaches_beyond_its_scan_is_told_what_differs(
    truth: np.ndarray, grid: Geometry, tmp_path: Path
) -> None:
    box = (slice(1, 8), slice(2, 10), slice(1, 6))
    path = write(tmp_path / "p07.seg.nrrd", truth, grid, [("a", 1, 0), ("b", 2, 0)])
    with pytest.raises(DataError, match="its size 9 x 11 x 7 against 7 x 8 x 5"):
        to_classes(read_label(path), grid.part(box), load_recipe("hippocampus"), path)


def test_the_names_of_segments_decide_where_the_classes_are_known(
    truth: np.ndarray, grid: Geometry, tmp_path: Path
) -> None:
    labels = load_recipe("hippocampus").labels
    one, two = (label.name for label in labels)
    stored = np.where(truth == 1, 2, np.where(truth == 2, 1, 0))
    stored[0, 0, 0] = 3
    file = write(tmp_path / "a.seg.nrrd", stored, grid, [(two.upper(), 1, 0), (one, 2, 0), ("Unknown", 3, 0)])
    found = voxels(read_label(file, labels=labels))
    assert found[0, 0, 0] == 255
    found[0, 0, 0] = truth[0, 0, 0]
    assert np.array_equal(found, truth)
    assert np.array_equal(voxels(read_label(file)), stored), "nobody told the classes"
    wide = (labels[0].model_copy(update={"sources": (420,)}), labels[1])
    assert np.array_equal(voxels(read_label(file, labels=wide, sources=True)) == 420, found == 1)
    strange = write(tmp_path / "b.seg.nrrd", stored, grid, [(two, 1, 0), (one, 2, 0), ("liver", 3, 0)])
    with pytest.raises(
        ScanError, match=f"segment liver is no class of this task. Name it one of: {one}, {two}"
    ):
        read_label(strange, labels=labels)
    unnamed = write(
        tmp_path / "c.seg.nrrd", stored, grid, [("Segment_1", 1, 0), ("Segment_2", 2, 0), ("x", 3, 0)]
    )
    assert np.array_equal(voxels(read_label(unnamed, labels=labels)), stored)


def test_values_beyond_a_byte_are_sources_of_classes_alone(grid: Geometry, tmp_path: Path) -> None:
    values = np.zeros(grid.size, np.int32)
    values[1], values[2] = 420, -7
    file = tmp_path / "heart.nii.gz"
    sitk.WriteImage(grid.place(values), file)
    with pytest.raises(ScanError, match=r"value (420|-7) is not a label \(0-255\)"):
        read_label(file)
    found = voxels(read_label(file, sources=True))
    assert np.array_equal(found, values)
    one, two = load_recipe("hippocampus").labels
    named = [one.model_copy(update={"sources": (420,)}), two.model_copy(update={"sources": (-7,)})]
    recipe = load_recipe("hippocampus").model_copy(update={"labels": tuple(named)})
    classes = voxels(to_classes(read_label(file, sources=True), grid, recipe, file))
    assert np.array_equal(classes, np.where(values == 420, 1, np.where(values == -7, 2, 0)))

"""Scans and labels that do not fit each other or a task: a plan that says it, or a line with what to change."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from trainable import organ

from diffcl.cli.main import run
from diffcl.geometry import Geometry, voxels

Change = Callable[[Path], None]

SCANS = 3


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three scans with labels, and a recipe that names the classes."""
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
    for number in range(SCANS):
        put(tmp_path, f"p{number}", *organ(number))
    classes = "".join(f'[[labels]]\nvalue = {value}\nname = "part{value}"\n' for value in (1, 2))
    (tmp_path / "organ.toml").write_text(f'name = "organ"\n{classes}')
    return tmp_path


def put(data: Path, name: str, scan: sitk.Image | None = None, label: sitk.Image | None = None) -> None:
    for kind, image in (("images", scan), ("labels", label)):
        if image is not None:
            sitk.WriteImage(image, data / kind / f"{name}.nii.gz")


def asked(data: Path, *command: str) -> int:
    return run([command[0], "--recipe", str(data / "organ.toml"), "--data", str(data), *command[1:]])


def on(name: str, change: Callable[[np.ndarray], np.ndarray], kind: str = "labels") -> Change:
    """Changes the values of a scan or label."""

    def make(data: Path) -> None:
        path = data / kind / f"{name}.nii.gz"
        image = sitk.ReadImage(path)
        sitk.WriteImage(Geometry.of(image).place(change(voxels(image).copy())), path)

    return make


def on_every(change: Callable[[np.ndarray], np.ndarray], kind: str = "labels") -> Change:
    def make(data: Path) -> None:
        for number in range(SCANS):
            on(f"p{number}", change, kind)(data)

    return make


def with_values(where: Any, value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(values: np.ndarray) -> np.ndarray:
        values[where] = value
        return values

    return change


def first_twenty(label: np.ndarray) -> np.ndarray:
    """A label in which the second class has 20 voxels."""
    late = (label == 2).cumsum().reshape(label.shape) > 20
    return np.where(late & (label == 2), 0, label).astype(np.uint8)


def another(
    size: tuple[int, int, int], spacing: tuple[float, float, float], *, coronal: bool = False
) -> Change:
    """One more scan, of a box that fills most of it."""

    def make(data: Path) -> None:
        axes = (1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, -1.0, 0.0) if coronal else tuple(np.eye(3).ravel())
        grid = Geometry(size, spacing, (0.0, 0.0, 0.0), axes)
        label = grid.zeros(np.uint8)
        label[1:-1, 1:-1, :] = 1
        label[size[0] // 2 :] *= 2
        noise = np.random.default_rng(0).normal(100, 10, size)
        put(data, "other", grid.place((noise + 80 * label).astype(np.float32)), grid.place(label))

    return make


def one_scan_only(data: Path) -> None:
    for number in range(1, SCANS):
        for kind in ("images", "labels"):
            (data / kind / f"p{number}.nii.gz").unlink()


def four_dimensions(data: Path) -> None:
    for number in range(SCANS):
        scan, _ = organ(number)
        sitk.WriteImage(sitk.JoinSeries([scan] * 3), data / "images" / f"p{number}.nii.gz")


def label_on_another_grid(data: Path) -> None:
    put(data, "p1", label=organ(2)[1])


def two_of_a_name(data: Path) -> None:
    sitk.WriteImage(organ(1)[0], data / "images" / "p1.nrrd")


def pictures(data: Path) -> None:
    for number in range(SCANS):
        (data / "images" / f"p{number}.nii.gz").rename(data / "images" / f"p{number}.png")


def no_labels(data: Path) -> None:
    shutil.rmtree(data / "labels")
    (data / "labels").mkdir()


def without_voxel_size(data: Path) -> None:
    _, label = organ(0)
    for kind, values in (("images", voxels(organ(0)[0])), ("labels", voxels(label))):
        (data / kind / "p0.nii.gz").unlink()
        types = {"images": "float", "labels": "uchar"}
        sizes = " ".join(map(str, values.shape))
        header = (
            f"NRRD0004\ntype: {types[kind]}\ndimension: 3\nsizes: {sizes}\nendian: little\nencoding: raw\n\n"
        )
        (data / kind / "p0.nrrd").write_bytes(header.encode() + values.tobytes(order="F"))


TOLD: dict[str, tuple[Change, str]] = {
    "very different spacing": (another((9, 9, 9), (6.0, 6.0, 6.0)), "to 6 x 6 x 6 mm: see whether all"),
    "one scan only": (one_scan_only, ""),
    "smaller than any crop": (another((4, 3, 2), (1.8, 1.9, 2.6)), ""),
    "a class of 20 voxels": (on_every(first_twenty), ""),
    "CT among MR": (on("p1", with_values(np.s_[:2], -1000), "images"), "CT (p1) and no CT (2 scans) are mixed"),
    "CT for a task of MR": (on_every(with_values(np.s_[:2], -1000), "images"), "for CT, say modality"),
    "no voxel size": (without_voxel_size, "p0: the header states no voxel size; 1 mm is a guess"),
    "axial and coronal": (another((26, 18, 10), (1.2, 1.2, 6.0), coronal=True), ""),
    "a value without a name": (on("p1", with_values((1, 1, 1), 7)), "p1.nii.gz: value 7 is not a class of organ (0,"),
    "a label on another grid": (label_on_another_grid, "p1.nii.gz: lies on another grid than its scan"),
    "a scan with a NaN": (on("p1", with_values((1, 1, 1), np.nan), "images"), "voxels are NaN or infinite"),
    "a constant scan": (on("p1", lambda scan: scan * 0, "images"), "p1.nii.gz: every voxel is 0"),
    "halves in a label": (on("p1", lambda label: (label * 0.5).astype(np.float32)), "value 0.5 is not a label"),
}  # fmt: skip

REFUSED: dict[str, tuple[Change, str]] = {
    "three points in time": (four_dimensions, "one of its points in time; if they are sequences, name them"),
    "no class in any label": (on_every(lambda label: label * 0), "every label to plan from is empty"),
    "two scans of a name": (two_of_a_name, "p1.nii.gz and p1.nrrd are both p1"),
    "pictures": (pictures, "images: holds no scan. Put there folders of DICOM, or files that end on"),
    "no label at all": (no_labels, "labels: holds no label of a scan in images/"),
}


@pytest.mark.parametrize(("make", "message"), TOLD.values(), ids=TOLD)
def test_there_is_a_plan_that_says_what_is_odd(
    make: Change, message: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(data)
    assert asked(data, "plan", "--json") == 0
    answer = capsys.readouterr()
    choices = {one["field"]: one for one in json.loads(answer.out)}
    assert min(choices["grid.crop"]["value"]) > 0
    assert message in " ".join([*(one["reason"] for one in choices.values()), answer.err])
    assert len(answer.err.splitlines()) <= 1


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_where_there_can_be_no_plan_a_line_says_what_to_change(
    make: Change, message: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(data)
    assert asked(data, "plan") == 1
    [line] = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.mark.parametrize(
    "odd",
    [
        "a value without a name",
        "a label on another grid",
        "a scan with a NaN",
        "a constant scan",
        "halves in a label",
    ],
)
def test_a_training_names_what_cannot_be_used_before_it_begins(
    odd: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, message = TOLD[odd]
    make(data)
    assert asked(data, "train", "--labelled", str(SCANS), "--out", str(data / "run"), "--steps", "1") == 1
    _, line = capsys.readouterr().err.splitlines()
    assert line.startswith("1 of 3 cases: ")
    assert message in line
    assert {path.name for path in (data / "run").iterdir()} == {"prepared"}

"""What cannot be used is said in one line, and no output stays behind."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from synthetic import make_scan, publish_untrained

from diffcl.cli.main import run
from diffcl.io.dicom.series_write import write_series
from diffcl.models import ModelRegistry

Make = Callable[[Path], Path]


def text(folder: Path) -> Path:
    path = folder / "notes.nii.gz"
    path.write_text("not an image")
    return path


def truncated(folder: Path) -> Path:
    whole = folder / "whole.nii.gz"
    sitk.WriteImage(make_scan("straight"), whole)
    path = folder / "cut.nii.gz"
    path.write_bytes(whole.read_bytes()[:2000])
    whole.unlink()
    return path


def truncated_inside(folder: Path) -> Path:
    """The compression is whole, the image in it is not."""
    sitk.WriteImage(make_scan("straight"), folder / "whole.nii")
    path = folder / "short.nii.gz"
    path.write_bytes(gzip.compress((folder / "whole.nii").read_bytes()[:-5000]))
    return path


def image_of(values: np.ndarray) -> Make:
    def make(folder: Path) -> Path:
        path = folder / "scan.nii.gz"
        sitk.WriteImage(sitk.GetImageFromArray(values.astype(np.float32), isVector=False), path)
        return path

    return make


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(100, 20, shape)


def with_value(value: float) -> np.ndarray:
    values = noise(8, 9, 10)
    values[3, 4, 5:7] = value
    return values


def series(folder: Path, name: str = "series") -> Path:
    write_series(sitk.Cast(make_scan("straight"), sitk.sitkInt16), folder / name, name=name)
    return folder / name


def two_series(folder: Path) -> Path:
    both = series(folder)
    for file in series(folder, "other").iterdir():
        shutil.copy(file, both / f"other-{file.name}")
    return both


def without_a_slice(folder: Path) -> Path:
    whole = series(folder)
    sorted(whole.iterdir())[5].unlink()
    return whole


def slices_of_two_sizes(folder: Path) -> Path:
    whole = series(folder)
    odd = sorted(whole.iterdir())[4]
    one = pydicom.dcmread(odd)
    one.Rows -= 2
    one.PixelData = one.PixelData[: 2 * one.Rows * one.Columns]
    one.save_as(odd)
    return whole


def empty_folder(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


def nothing(folder: Path) -> Path:
    return folder / "none.nii.gz"


BAD_SCANS: dict[str, tuple[Make, str]] = {
    "not a medical image": (text, "notes.nii.gz: "),
    "truncated gzip": (truncated, "cut.nii.gz: "),
    "truncated image": (truncated_inside, "short.nii.gz: "),
    "2D": (image_of(noise(20, 30)), "a 2D image (30 x 20)"),
    "4D": (image_of(noise(2, 8, 9, 10)), "a 4D image"),
    "all zero": (image_of(np.zeros((8, 9, 10))), "every voxel is 0"),
    "not a number": (image_of(with_value(np.nan)), "2 of 720 voxels are NaN or infinite"),
    "infinite": (image_of(with_value(np.inf)), "2 of 720 voxels are NaN or infinite"),
    "one voxel thin": (image_of(noise(1, 20, 30)), "only one voxel thin (30 x 20 x 1)"),
    "two series": (two_series, "2 series"),
    "missing slice": (without_a_slice, "slice"),
    "slices of two sizes": (slices_of_two_sizes, "size"),
    "empty folder": (empty_folder, "empty: "),
    "missing file": (nothing, "none.nii.gz: no such file or folder"),
}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with an untrained model `organ`."""
    publish_untrained(ModelRegistry(tmp_path / "store"))
    return tmp_path / "store"


def predict(store: Path, scan: Path, out: Path, *options: str) -> int:
    every = [
        "--uncertainty",
        str(out / "doubt"),
        "--report",
        str(out / "report"),
        "--picture",
        str(out / "look"),
    ]
    return run(
        ["predict", str(scan), "--model", "organ", "--store", str(store), "--out", str(out), *every, *options]
    )


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize(("make", "message"), BAD_SCANS.values(), ids=BAD_SCANS)
def test_a_scan_that_cannot_be_used(
    make: Make, message: str, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    scan = make(tmp_path / "in")
    assert predict(store, scan, tmp_path / "out") == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert not files(tmp_path / "out")


def test_a_flat_wide_scan_is_segmented(store: Path, tmp_path: Path) -> None:
    scan = image_of(noise(5, 200, 200))(tmp_path)
    assert run(["predict", str(scan), "--model", "organ", "--store", str(store), "--networks", "cs",
                "--out", str(tmp_path / "out.nii.gz")]) == 0  # fmt: skip
    assert sitk.ReadImage(tmp_path / "out.nii.gz").GetSize() == (200, 200, 5)


def test_an_output_folder_that_is_a_file(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = image_of(noise(8, 9, 10))(tmp_path)
    out = tmp_path / "out"
    out.write_text("in the way")
    assert predict(store, scan, out) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert str(out) in line
    assert out.read_text() == "in the way"


def test_a_folder_in_which_nothing_can_be_made(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = image_of(noise(8, 9, 10))(tmp_path)
    assert predict(store, scan, Path("/proc/none")) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("/proc")


def truncate_weights(model: Path) -> str:
    weights = model / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    return "weights.safetensors: is damaged"


def other_recipe(model: Path) -> str:
    info = json.loads((model / "model.json").read_text())
    info["recipe"]["cs"]["filters"] = [8, 16]
    (model / "model.json").write_text(json.dumps(info))
    return "does not fit its recipe"


def broken_description(model: Path) -> str:
    (model / "model.json").write_text("{")
    return "model.json: "


def no_weights(model: Path) -> str:
    (model / "weights.safetensors").unlink()
    return "weights.safetensors: is missing"


@pytest.mark.parametrize("damage", [truncate_weights, other_recipe, broken_description, no_weights])
def test_a_model_folder_that_is_damaged(
    damage: Callable[[Path], str], store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = image_of(noise(8, 9, 10))(tmp_path)
    message = damage(store / "organ" / "1")
    assert predict(store, scan, tmp_path / "out") == 1
    [line] = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "liver"], "model liver: there is none of that name. Known models: "),
        (["--series", "1.2.3"], "has no series"),
        (["--networks", "all"], "Invalid value for '--networks'"),
        (["--seed", "-1"], "Invalid value for '--seed'"),
        (["--device", "tpu"], "Invalid value for '--device'"),
        (["--out", "label.jpg"], "label.jpg: cannot hold the label"),
        (["--report", "report.txt"], "report.txt: cannot hold the report"),
        (["--fast"], "No such option: --fast"),
    ],
)
def test_wrong_use(
    options: list[str], message: str, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = image_of(noise(8, 9, 10))(tmp_path)
    code = predict(store, scan, tmp_path / "out", *options)
    assert code == (1 if "--series" in options else 2)
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert not files(tmp_path / "out")

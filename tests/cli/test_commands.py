"""The commands as a person types them: what is written, what is said, and the exit code."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from synthetic import ORGAN_TOML, make_scan, make_studies, publish_untrained, same_place
from tube import TINY_NETWORKS

from diffcl.cli.console import warn
from diffcl.cli.main import run
from diffcl.io import read_label
from diffcl.io.dicom.series_write import write_series
from diffcl.models import ModelRegistry


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with an untrained model `organ`."""
    publish_untrained(ModelRegistry(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture
def scans(tmp_path: Path) -> list[Path]:
    """Scans of awkward geometry."""
    return sorted(make_studies(tmp_path / "scans").glob("*.nii.gz"))


def predict(store: Path, scans: Sequence[Path], *options: object) -> int:
    words = ["predict", *scans, "--model", "organ", "--store", store, *options]
    return run([str(word) for word in words])


def test_every_label_lies_on_its_scan(store: Path, scans: list[Path], tmp_path: Path) -> None:
    assert predict(store, scans, "--out", tmp_path / "out") == 0
    for scan in scans:
        assert same_place(read_label(tmp_path / "out" / scan.name), sitk.ReadImage(scan))


def test_all_results_of_one_scan(
    store: Path, scans: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    files = {kind: out / name for kind, name in
             {"out": "l.nrrd", "uncertainty": "u.nii.gz", "report": "r.json", "picture": "p.png"}.items()}  # fmt: skip
    options = [word for kind, path in files.items() for word in (f"--{kind}", path)]
    assert predict(store, scans[:1], *options, "--json") == 0
    assert all(path.stat().st_size > 0 for path in files.values())
    said, report = json.loads(capsys.readouterr().out), json.loads(files["report"].read_text())
    assert said["volumes_ml"] == report["volumes_ml"]
    doubt = sitk.GetArrayFromImage(sitk.ReadImage(files["uncertainty"]))
    assert 0 <= doubt.min() <= doubt.max() <= 1


def test_one_bad_scan_does_not_stop_the_rest(
    store: Path, scans: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "scans" / "bad.nii.gz"
    bad.write_bytes(b"not an image")
    assert predict(store, [bad, *scans[:1]], "--out", tmp_path / "out") == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == [scans[0].name]
    errors = capsys.readouterr().err
    assert "bad.nii.gz: " in errors
    assert "Traceback" not in errors


def test_what_speaks_against_a_scan_is_said_once_and_before_what_was_found(
    store: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wide = np.random.default_rng(0).normal(100, 10, (48, 48, 48)).astype(np.float32)
    sitk.WriteImage(sitk.GetImageFromArray(wide), tmp_path / "wide.nii.gz")
    description = store / "organ" / "1" / "model.json"
    content = json.loads(description.read_text())
    content["profile"]["ranges"] = {"brightness": (5.0, 6.0)}
    description.write_text(json.dumps(content))
    monkeypatch.setattr("diffcl.inference.outlook.LONG_SECONDS", 0.0)
    monkeypatch.setattr("diffcl.cli.predict.say", lambda text: warn(f"found: {text}"))
    assert predict(store, [tmp_path / "wide.nii.gz"], "--out", tmp_path / "out", "--networks", "cs") == 0
    first, second, found = capsys.readouterr().err.splitlines()
    assert "The scan's brightness is" in first
    assert "windows will take about" in second
    assert "found: wide: organ_head" in found


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """A DICOM series of awkward geometry."""
    write_series(make_scan("oblique"), tmp_path / "series")
    return tmp_path / "series"


def test_a_dicom_series_gives_what_an_archive_keeps(store: Path, series: Path, tmp_path: Path) -> None:
    files = {
        "out": tmp_path / "seg.dcm",
        "report": tmp_path / "sr.dcm",
        "probabilities": tmp_path / "likely.dcm",
    }
    assert (
        predict(store, [series], *(word for kind, path in files.items() for word in (f"--{kind}", path))) == 0
    )
    seg, report, likely = (pydicom.dcmread(path) for path in files.values())
    assert (seg.SegmentationType, likely.SegmentationType, report.Modality) == ("BINARY", "FRACTIONAL", "SR")
    assert str(seg.SOPInstanceUID) in str(report)
    likeliest = int(likely.pixel_array.max())
    assert 0 < likeliest <= 255


def test_a_segmentation_is_evaluated_like_any_label(
    store: Path, series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(store, [series], "--out", tmp_path / "seg.dcm") == 0
    assert predict(store, [series], "--out", tmp_path / "label.nii.gz") == 0
    capsys.readouterr()
    (tmp_path / "organ.toml").write_text(ORGAN_TOML)
    words = [
        "evaluate",
        tmp_path / "seg.dcm",
        tmp_path / "label.nii.gz",
        "--recipe",
        tmp_path / "organ.toml",
        "--json",
    ]
    assert run([str(word) for word in words]) == 0
    summary = json.loads(capsys.readouterr().out)["summary"]
    assert {row["class"]: row["mean"]["dice"] for row in summary}["all"] == 1


def test_what_refers_to_a_series_needs_one(
    store: Path, scans: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        predict(store, scans[:1], "--out", tmp_path / "l.nii.gz", "--probabilities", tmp_path / "p.dcm") == 1
    )
    assert "needs a DICOM series as its scan" in capsys.readouterr().err
    assert predict(store, scans[:1], "--out", tmp_path / "l.nii.gz", "--report", tmp_path / "r.dcm") == 2
    assert "a structured report refers to a DICOM segmentation" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--model", "liver"], "there is none of that name. Known models: "),
        (["--networks", "all"], "Invalid value"),
        (["--seed", "many"], "Invalid value"),
    ],
    ids=["model", "networks", "seed"],
)
def test_wrong_use_is_said_in_one_line(
    store: Path,
    scans: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: list[str],
    message: str,
) -> None:
    assert predict(store, scans[:1], "--out", tmp_path / "out", *change) == 2
    errors = capsys.readouterr().err
    assert message in " ".join(errors.split())
    assert "Traceback" not in errors
    assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True


def test_a_scan_is_never_overwritten(store: Path, scans: list[Path]) -> None:
    before = scans[0].read_bytes()
    assert predict(store, scans[:1], "--out", scans[0]) == 2
    assert predict(store, scans, "--out", scans[0].parent) == 2
    assert scans[0].read_bytes() == before


def test_a_damaged_model_is_refused(
    store: Path, scans: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = store / "organ" / "1" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert predict(store, scans[:1], "--out", tmp_path / "out.nii.gz") == 1
    assert "weights.safetensors: is damaged" in capsys.readouterr().err
    assert not (tmp_path / "out.nii.gz").exists()


def test_models_are_listed(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "--store", str(store), "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {model["name"] for model in listed} >= {"organ"}
    assert run(["models", "--store", str(store)]) == 0
    assert "organ" in capsys.readouterr().out


def test_phantoms_agree_with_themselves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["phantom", str(tmp_path), "--count", "2"]) == 0
    labels = str(tmp_path / "labels")
    assert run(["evaluate", labels, labels, "--recipe", "hippocampus", "--out", str(tmp_path / "a.csv")]) == 0
    assert "1.0000" in capsys.readouterr().out
    assert "hippocampus_anterior" in (tmp_path / "a.csv").read_text()
    assert run(["evaluate", labels, labels, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["summary"]


RECIPE = f"""
name = "organ"
[[labels]]
value = 1
name = "organ"
[grid]
spacing = [3.0, 3.0, 3.0]
window = [8, 8, 8]
crop = [8, 8, 8]
{TINY_NETWORKS}
[training]
steps = 100
supervised_start = 50
"""


def test_from_scans_to_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    for kind in ("images", "labels"):
        (data / kind).mkdir(parents=True)
    for index, name in enumerate(("straight", "oblique", "flipped")):
        scan = make_scan(name)
        label = sitk.Cast(scan > 200, sitk.sitkUInt8)
        sitk.WriteImage(scan, data / "images" / f"scan{index}.nii.gz")
        sitk.WriteImage(label, data / "labels" / f"scan{index}.nii.gz")
    (tmp_path / "organ.toml").write_text(RECIPE)
    train = ["train", "--recipe", str(tmp_path / "organ.toml"), "--data", str(data), "--labelled", "1",
             "--validation", "1", "--out", str(tmp_path / "run"), "--steps", "3"]  # fmt: skip
    (data / "patients.csv").write_text("scan1,other\nscan2,other\n")
    assert run(train) == 0
    assert (
        "1 of the scans without a label left out: other scans of the same patients" in capsys.readouterr().err
    )
    assert run(train) == 2, "the folder is in use"
    assert run([*train, "--resume"]) == 0
    store = str(tmp_path / "store")
    assert run(["publish", str(tmp_path / "run"), "--name", "organ", "--store", store]) == 0
    assert ModelRegistry(tmp_path / "store").names() == ["organ"]
    assert "organ" in capsys.readouterr().out
    assert np.array_equal(ModelRegistry(tmp_path / "store").versions("organ"), [1])


@pytest.fixture
def server_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `diffcl serve` refuses is the same whether or not the server is installed."""
    monkeypatch.setattr("diffcl.cli.serve._check_server", lambda: None)


@pytest.mark.usefixtures("server_installed")
def test_a_port_in_use_is_said(scans: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert run(["serve", "--studies", str(scans[0].parent), "--port", port]) == 2
    assert f"127.0.0.1:{port}: cannot be listened on" in capsys.readouterr().err


@pytest.mark.usefixtures("server_installed")
def test_missing_studies_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["serve", "--studies", str(tmp_path / "none"), "--port", "18431"]) == 2
    assert "none: no such folder" in capsys.readouterr().err


@pytest.mark.usefixtures("server_installed")
def test_a_recipe_that_is_not_there_is_said(scans: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["serve", "--studies", str(scans[0].parent), "--port", "18432", "--recipe", "none.toml"]) == 1
    assert "none.toml" in capsys.readouterr().err


def test_a_public_set_becomes_images_and_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan = make_scan("oblique")
    (tmp_path / "set").mkdir()
    sitk.WriteImage(scan, tmp_path / "set" / "a_flair.nii.gz")
    command = ["prepare", str(tmp_path / "set"), "--form", "brats", "--out", str(tmp_path / "out")]
    assert run(command) == 1
    assert "a_seg.nii.gz: is missing" in capsys.readouterr().err
    sitk.WriteImage(sitk.Cast(scan > 200, sitk.sitkUInt8), tmp_path / "set" / "a_seg.nii.gz")
    assert run(command) == 0
    assert "1 scans with labels" in capsys.readouterr().out
    assert same_place(sitk.ReadImage(tmp_path / "out" / "labels" / "a.nii.gz"), scan)
    assert run(command) == 2, "the folder exists"

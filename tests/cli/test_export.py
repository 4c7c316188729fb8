"""A model leaves for other programs, and comes back as an engine."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import SimpleITK as sitk
import torch
from synthetic import ORGAN, make_scan, publish_untrained

from diffcl.cli.main import run
from diffcl.models import ModelRegistry, load_model


@pytest.fixture
def store(tmp_path: Path) -> ModelRegistry:
    """A store with a version of `organ` that has no ONNX files."""
    store = ModelRegistry(tmp_path / "store")
    publish_untrained(store)
    return store


def test_the_files_of_a_folder_need_nothing_else(
    store: ModelRegistry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "onnx"
    assert run(["export", "organ", "--onnx", "--out", str(out), "--store", str(store.folders[0])]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["cs.onnx", "ds.onnx"]
    assert capsys.readouterr().out.count("answers as torch does") == 2
    session = onnxruntime.InferenceSession(out / "ds.onnx", providers=["CPUExecutionProvider"])
    image, noisy, time = torch.randn(1, 1, 6, 4, 8), torch.randn(1, ORGAN.classes, 6, 4, 8), torch.tensor([7])
    (found,) = session.run(["logits"], {"image": image.numpy(), "noisy": noisy.numpy(), "time": time.numpy()})
    expected = load_model(store.folder("organ")).ds(image, noisy, time)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)


def test_an_exported_model_is_predicted_with_either_engine(
    store: ModelRegistry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["--store", str(store.folders[0])]
    sitk.WriteImage(make_scan("oblique"), tmp_path / "scan.nii.gz")
    words = ["predict", str(tmp_path / "scan.nii.gz"), "--model", "organ", "--json", *place]
    assert run([*words, "--out", str(tmp_path / "none.nii.gz"), "--engine", "onnx"]) == 1
    assert "cs.onnx: is missing. Write it with diffcl export --onnx" in capsys.readouterr().err
    assert run(["export", "organ", "--onnx", *place]) == 0
    capsys.readouterr()
    labels = []
    for engine in ("torch", "onnx"):
        out = tmp_path / f"{engine}.nii.gz"
        assert run([*words, "--out", str(out), "--engine", engine]) == 0
        assert json.loads(capsys.readouterr().out)["engine"] == engine
        labels.append(sitk.GetArrayFromImage(sitk.ReadImage(out)))
    assert (labels[0] == labels[1]).mean() >= 0.9999


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["organ"], 2, "diffcl export: no form is named. Add --onnx"),
        (["liver", "--onnx"], 2, "model liver: there is none of that name"),
    ],
)
def test_wrong_use_is_said_in_one_line(
    store: ModelRegistry, words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", *words, "--store", str(store.folders[0])]) == code
    assert message in " ".join(capsys.readouterr().err.split())

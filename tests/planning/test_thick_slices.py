"""A recipe that names the classes learns from thick slices: plan, training, publishing, prediction."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from tube import TUBE

from diffcl.cli.main import run
from diffcl.data.cases import find_cases
from diffcl.data.preprocess import prepare
from diffcl.geometry import Geometry
from diffcl.inference.predictor import Predictor
from diffcl.io import read_scan
from diffcl.models.registry import ModelRegistry
from diffcl.models.weights import load_model
from diffcl.phantom import make_phantom, phantom_grid
from diffcl.planning.choices import choose
from diffcl.planning.survey import survey
from diffcl.publishing.candidate import publish
from diffcl.recipe import load_recipe
from diffcl.training import Plan, train


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Oblique stacks of six to nine slices of 4 to 6 mm; the last one is unlabelled and of another orientation."""
    for kind in ("images", "labels"):
        (tmp_path / "data" / kind).mkdir(parents=True)
    for seed in range(3):
        grid = phantom_grid(
            spacing=(0.9, 0.9, 6.0 - seed),
            rotation=(4.0, -3.0, 8.0),
            orientation="LAS" if seed == 2 else "RPS",
        )
        made = make_phantom(seed, grid)
        sitk.WriteImage(made.image, tmp_path / "data" / "images" / f"p{seed}.nii.gz")
        if seed < 2:
            sitk.WriteImage(made.label, tmp_path / "data" / "labels" / f"p{seed}.nii.gz")
    return tmp_path / "data"


@pytest.fixture
def organ(tmp_path: Path) -> Path:
    file = tmp_path / "tube.toml"
    file.write_text(TUBE)
    return file


def test_thick_slices_go_from_names_to_a_label_on_their_own_grid(
    data: Path, organ: Path, tmp_path: Path
) -> None:
    recipe = load_recipe(organ)
    cases = find_cases(data, labelled=2)
    train(cases, recipe, tmp_path / "run", plan=Plan(steps=2))
    store = ModelRegistry(tmp_path / "models")
    model = load_model(publish(tmp_path / "run", "tube", store))
    stored = model.info.recipe
    assert stored.cs.strides[0] == (2, 2, 1)
    assert stored.grid.spacing == pytest.approx((0.9, 0.9, 5.0), abs=1e-3)
    assert not stored.open
    scan = read_scan(data / "images" / "p2.nii.gz")
    found = Predictor(model)(scan, keep_probabilities=True)
    for image in (found.label, found.uncertainty, *found.probabilities):
        assert Geometry.of(image) == Geometry.of(scan.image)


def test_slices_are_read_as_they_were_taken_whichever_way_they_lie(data: Path, organ: Path) -> None:
    upright = data / "images" / "p2.nii.gz"
    turned = sitk.ReadImage(upright)
    tilt = sitk.Euler3DTransform()
    tilt.SetRotation(-1.0, 0.6, 0.3)  # slices nearer to coronal than to axial ones
    turned.SetDirection(
        tuple((np.reshape(tilt.GetMatrix(), (3, 3)) @ np.reshape(turned.GetDirection(), (3, 3))).ravel())
    )
    sideways = sitk.PermuteAxes(turned, [2, 0, 1])[::-1]
    recipe = load_recipe(organ)
    cases = find_cases(data, labelled=2)
    chosen = choose(recipe, survey(cases.labelled, cases.unlabelled, recipe))[0]
    assert chosen.grid.axes == "slices"
    one, other = (prepare(read_scan(scan), chosen) for scan in (turned, sideways))
    assert abs(one.working.axes[:, 2] @ Geometry.of(turned).axes[:, 2]) > 0.999  # no slice is cut across
    assert torch.equal(one.image, other.image)


def test_one_scan_alone_can_be_learned_from(data: Path, organ: Path, tmp_path: Path) -> None:
    for name in ("p1", "p2"):
        (data / "images" / f"{name}.nii.gz").unlink()
    train(find_cases(data, labelled=1), load_recipe(organ), tmp_path / "run", plan=Plan(steps=1))
    assert (tmp_path / "run" / "best.pt").is_file()


def test_the_plan_is_printed_with_reasons_and_a_picture(
    data: Path, organ: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "crop.png"
    asked = [
        "plan",
        "--recipe",
        str(organ),
        "--data",
        str(data),
        "--labelled",
        "2",
        "--cache",
        str(tmp_path / "c"),
    ]
    assert run([*asked, "--picture", str(picture)]) == 0
    told = capsys.readouterr().out
    assert "grid.spacing" in told
    assert "0.9, 0.9, 5" in told
    assert "Slices much thicker than their pixels" in told
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert run([*asked, "--json"]) == 0
    chosen = {one["field"]: one["value"] for one in json.loads(capsys.readouterr().out)}
    assert chosen["cs.kernels"][0] == [3, 3, 1]

"""An organ that only the second sequence shows is learned, validated, published and found."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

from diffcl import predict, predict_files
from diffcl.cli.main import app
from diffcl.data.batches import Batches
from diffcl.data.cache import prepare_case
from diffcl.data.cases import Cases, LabelledCase, find_cases
from diffcl.errors import DataError
from diffcl.geometry import Geometry, voxels
from diffcl.models import ModelRegistry, load_model
from diffcl.models.onnx.export import write_onnx
from diffcl.planning.planned_recipe import planned
from diffcl.publishing import publish
from diffcl.publishing.trial import one_window
from diffcl.recipe import Recipe, parse_recipe
from diffcl.training import Parent, train
from diffcl.training.validation import read_validation

TWO = [{"name": "FLAIR"}, {"name": "T1", "required": False}]


@pytest.fixture(scope="module")
def two(recipe: Recipe) -> Recipe:
    """Two sequences, enough steps to learn what is bright in one of them."""
    content = recipe.model_dump(exclude_unset=True)
    content["labels"] = [{"value": 1, "name": "organ"}]
    content["sequences"] = TWO
    content["cs"] = {"filters": [8, 16], "blocks": [1, 1], "projection": 4, "hf_mamba_levels": []}
    content["ds"] = {"filters": [8, 16], "blocks": [1, 1], "projection": 4, "time_features": 8}
    content["training"] |= {
        "steps": 60, "supervised_start": 50, "validate_every": 60, "learning_rate": 0.01, "average": 0.8,
    }  # fmt: skip
    content["augmentation"] = {"rotate": 0, "scale": 0, "shift": 0, "gamma": 0, "blur": 0}
    return parse_recipe(content, "test")


def case(number: int) -> tuple[sitk.Image, sitk.Image, sitk.Image]:
    """FLAIR of noise, T1 on a finer and shifted grid in which the organ is bright, and its label on FLAIR's grid."""
    grid = Geometry((20, 18, 12), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    finer = Geometry((46, 42, 30), (1.0, 1.0, 1.0), (-3.0, -3.0, -3.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    random = np.random.default_rng(number)
    middle = np.array([18, 16, 11]) + random.integers(-3, 4, 3)

    def inside(where: Geometry) -> np.ndarray:
        at = where.points(np.moveaxis(np.indices(where.size), 0, -1))
        return (np.abs(at - middle) < 7).all(axis=-1)

    flair = random.normal(100, 10, grid.size).astype(np.float32)
    t1 = random.normal(50, 5, finer.size) + 100 * inside(finer)
    return grid.place(flair), finer.place(t1.astype(np.float32)), grid.place(inside(grid).astype(np.uint8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six cases; the last one has no T1."""
    made = tmp_path_factory.mktemp("cases")
    for kind in ("images", "labels"):
        (made / kind).mkdir()
    for number in range(6):
        flair, t1, label = case(number)
        sitk.WriteImage(flair, made / "images" / f"p{number}_0000.nii.gz")
        if number < 5:
            sitk.WriteImage(t1, made / "images" / f"p{number}_0001.nii.gz")
        sitk.WriteImage(label, made / "labels" / f"p{number}.nii.gz")
    return made


@pytest.fixture(scope="module")
def version(folder: Path, two: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published model of a run on them."""
    place = tmp_path_factory.mktemp("two")
    cases = find_cases(folder, labelled=3, recipe=two)
    cases = Cases(cases.labelled, (cases.unlabelled[0],), (find_labelled(folder, 4),))
    best = train(cases, two, place / "run")
    assert best is not None
    assert best.dice > 0.7
    return publish(place / "run", "organ", ModelRegistry(place / "store"))


def find_labelled(folder: Path, number: int) -> LabelledCase:
    return LabelledCase(
        f"p{number}", folder / "images" / f"p{number}_0000.nii.gz", folder / "labels" / f"p{number}.nii.gz"
    )


def dice(one: sitk.Image, other: sitk.Image) -> float:
    a, b = voxels(one) > 0, voxels(other) > 0
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_the_files_of_a_case_are_one_case(folder: Path, two: Recipe) -> None:
    cases = find_cases(folder, labelled=3, validation=1, recipe=two)
    assert [one.name for one in cases.labelled] == ["p0", "p1", "p2"]
    assert [one.name for one in cases.unlabelled] == ["p3", "p4"]
    assert cases.labelled[0].image.name == "p0_0000.nii.gz"


def test_the_model_finds_what_only_the_second_sequence_shows(version: Path) -> None:
    flair, t1, label = case(77)
    found = predict([flair, t1], version)
    assert Geometry.of(found.label) == Geometry.of(flair)
    assert dice(found.label, label) > 0.7
    assert dice(predict([flair, flair], version).label, label) < 0.3


def test_an_absent_sequence_is_told_in_the_result(version: Path) -> None:
    assert "T1 is absent, so the label was made without it." in predict([case(77)[0]], version).warnings


def test_files_are_predicted_case_by_case(folder: Path, version: Path, tmp_path: Path) -> None:
    outcomes = predict_files(folder / "images", version, tmp_path)
    assert [outcome.error for outcome in outcomes] == [""] * 6
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"p{number}.nii.gz" for number in range(6)]
    assert dice(sitk.ReadImage(str(tmp_path / "p4.nii.gz")), case(4)[2]) > 0.7


def test_the_command_line_takes_sequences_by_name(folder: Path, version: Path, tmp_path: Path) -> None:
    flair, t1 = (str(folder / "images" / f"p4_000{number}.nii.gz") for number in range(2))
    out = tmp_path / "label.nii.gz"
    options = ["--model", str(version), "--out", str(out)]
    done = CliRunner().invoke(app, ["predict", flair, "--with", f"T1={t1}", *options, "--json"])
    assert done.exit_code == 0, done.output
    assert dice(sitk.ReadImage(str(out)), case(4)[2]) > 0.7
    assert "absent" not in json.dumps(json.loads(done.stdout)["warnings"])
    refused = CliRunner().invoke(app, ["predict", flair, "--with", f"T2={t1}", *options])
    assert refused.exit_code != 0


def test_a_changed_second_sequence_is_prepared_anew(folder: Path, two: Recipe, tmp_path: Path) -> None:
    one = LabelledCase("p", tmp_path / "p_0000.nii.gz", folder / "labels" / "p0.nii.gz")
    flair, t1, _ = case(0)
    sitk.WriteImage(flair, one.image)
    absent = prepare_case(one, two, tmp_path / "cache").image
    sitk.WriteImage(t1, tmp_path / "p_0001.nii.gz")
    there = prepare_case(one, two, tmp_path / "cache").image
    assert absent.shape == there.shape
    assert absent.shape[0] == 2
    assert not absent[1].any()
    assert there[1].any()


def test_a_sequence_that_may_be_absent_is_empty_in_some_crops(folder: Path, two: Recipe) -> None:
    scan = prepare_case(find_labelled(folder, 0), two)
    batches = Batches([scan], [], two)
    drawn = [batches(step).labelled for step in range(1, 31)]
    empty = [not bool(crops[:, 1].any()) for crops in drawn]
    assert 0 < sum(empty) < 20
    assert all(bool(crops[:, 0].any()) for crops in drawn)


def test_a_validation_scan_keeps_its_sequences(folder: Path, two: Recipe, tmp_path: Path) -> None:
    for number, present in ((4, True), (5, False)):
        kept = [
            read_validation(find_labelled(folder, number), two, cache) for cache in (None, tmp_path, tmp_path)
        ]
        for scan in kept:
            assert (scan.scan.others[0] is not None) == present
            assert np.array_equal(voxels(scan.scan.image), voxels(kept[0].scan.image))


def test_the_graphs_take_both_sequences(version: Path, tmp_path: Path) -> None:
    assert len(write_onnx(load_model(version), tmp_path)) == 2


def test_the_trial_gives_every_sequence(two: Recipe) -> None:
    assert len(one_window(two).others) == 1


def test_a_model_of_other_sequences_is_no_start(version: Path, two: Recipe) -> None:
    content = two.model_dump(exclude_unset=True)
    one = parse_recipe({**content, "sequences": []}, "test")
    assert Parent.of(version).unlike(one) == "organ 1 takes FLAIR, T1, not one sequence"
    assert Parent.of(version).unlike(two) == ""


def test_one_image_for_a_model_of_two_that_needs_both_is_one_line(folder: Path, two: Recipe) -> None:
    content = two.model_dump(exclude_unset=True)
    needed = parse_recipe({**content, "sequences": [{"name": "FLAIR"}, {"name": "T1"}]}, "test")
    cases = find_cases(folder, labelled=2, validation=1, recipe=needed)
    with pytest.raises(
        DataError, match=r"1 of .* cases: .*p5_0000\.nii\.gz: without T1, which the task needs"
    ):
        train(Cases((*cases.labelled, find_labelled(folder, 5)), (), ()), needed, folder / "run")


def test_a_plan_chooses_the_window_of_a_sequence_of_ct(folder: Path) -> None:
    names = {"name": "organ", "labels": [{"value": 1, "name": "organ"}]}
    recipe = parse_recipe({**names, "sequences": [TWO[0], {**TWO[1], "modality": "CT"}]}, "test")
    made = planned(recipe, find_cases(folder, labelled=5, recipe=recipe))
    window = made.intensities[1]
    assert window.method == "window"
    assert window.low < 150 < window.high
    assert made.intensities[0].method == "percentile"
    assert made.channels == 2

"""A prediction lies on its scan, is the same every time, and says what it is worth."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from diffcl.data.preprocess import prepare
from diffcl.geometry import Geometry, voxels
from diffcl.inference import Predictor, predictor
from diffcl.inference.ensemble import (
    NetworkProbabilities,
    Networks,
    most_probable,
)
from diffcl.inference.predictor import decide, entropy
from diffcl.inference.reading import Reading, predict_probabilities, read
from diffcl.io import Scan
from diffcl.models import Model
from diffcl.recipe import Recipe


def test_everything_lies_exactly_on_the_scan(model: Model, scan: Scan) -> None:
    prediction = Predictor(model)(scan, keep_probabilities=True)
    for image in (prediction.label, prediction.uncertainty, *prediction.probabilities):
        assert Geometry.of(image) == Geometry.of(scan.image)


def test_the_same_scan_has_the_same_label_also_in_several_threads(model: Model, scan: Scan) -> None:
    predictor = Predictor(model)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: predictor(scan, keep_probabilities=True), range(4)))
    for other in found[1:]:
        assert np.array_equal(voxels(found[0].label), voxels(other.label))
        assert np.array_equal(voxels(found[0].probabilities[0]), voxels(other.probabilities[0]))


def test_another_seed_starts_ds_elsewhere(model: Model, scan: Scan) -> None:
    maps = [
        voxels(Predictor(model)(scan, networks="ds", seed=seed, keep_probabilities=True).probabilities[0])
        for seed in (0, 1)
    ]
    assert not np.array_equal(*maps)


def test_the_label_is_where_the_object_is(model: Model, scan: Scan) -> None:
    """A CS that calls bright voxels class 2 finds the bright box of any scan where it lies."""

    class Bright(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            bright = (image > 0).float() * 40 - 20
            return torch.cat([-bright, torch.full_like(bright, -20), bright], dim=1)

    size = np.array(scan.image.GetSize())
    box = tuple(slice(int(n) // 4, int(n) * 3 // 4) for n in size)
    values = np.zeros(size, np.float32)
    values[box] = 100
    values += 1
    there = replace(scan, image=Geometry.of(scan.image).place(values))
    prediction = Predictor(replace(model, cs=Bright()))(there, networks="cs")  # type: ignore[arg-type]
    truth = values > 50
    found = voxels(prediction.label) == 2
    assert 2 * (truth & found).sum() / (truth.sum() + found.sum()) > 0.8
    middles = [np.argwhere(mask).mean(axis=0) for mask in (truth, found)]
    np.testing.assert_allclose(*middles, atol=0.5)
    volume = found.sum() * np.prod(scan.image.GetSpacing()) / 1000
    assert prediction.report.volumes_ml == {"head": 0, "tail": pytest.approx(volume, abs=1e-3)}


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_ensemble_is_the_weighted_mean(model: Model, recipe: Recipe, scan: Scan, weight: float) -> None:
    recipe = recipe.changed(inference={"ds_weight": weight})
    opinions = predict_probabilities(prepare(scan, recipe).image, recipe, model.cs, model.ds)
    assert opinions.cs is not None
    assert opinions.ds is not None
    torch.testing.assert_close(opinions.mean, (1 - weight) * opinions.cs + weight * opinions.ds)
    for probabilities in (opinions.cs, opinions.ds, opinions.mean):
        torch.testing.assert_close(probabilities.sum(dim=0), torch.ones(probabilities.shape[1:]))


def test_windows_of_a_network_that_sees_one_voxel_change_nothing(recipe: Recipe) -> None:
    class Pointwise(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return torch.cat([image, -image, 2 * image], dim=1)

    image = torch.randn(1, 30, 7, 13, generator=torch.Generator().manual_seed(0))
    opinions = predict_probabilities(image, recipe, Pointwise(), None, networks="cs")
    torch.testing.assert_close(opinions.mean, Pointwise()(image[None]).softmax(dim=1)[0])


@pytest.mark.parametrize("networks", ["ensemble", "cs", "ds"])
def test_networks_are_not_asked_of_windows_that_show_nothing(
    model: Model, recipe: Recipe, networks: Networks
) -> None:
    asked: list[Tensor] = []

    def watched(crop: Tensor) -> Tensor:
        asked.append(crop)
        return model.cs(crop)

    image = torch.full((1, 8 * recipe.grid.window[0], 8, 8), -1.0)
    image[:, :4] = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    opinions = predict_probabilities(image, recipe, watched, model.ds, networks=networks)
    assert all(crop.amin() < crop.amax() for crop in asked)
    assert len(asked) == (0 if networks == "ds" else 1)
    torch.testing.assert_close(opinions.mean.sum(dim=0), torch.ones(image.shape[1:]))
    assert (opinions.mean[0, -recipe.grid.window[0] :] == 1).all()


def test_what_a_first_look_leaves_out_changes_neither_label_nor_place(model: Model, scan: Scan) -> None:
    class Bright(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            near = torch.nn.functional.avg_pool3d(image, 3, stride=1, padding=1) * 20
            return torch.cat([-near, near, torch.full_like(near, -40)], dim=1)

    grid = replace(Geometry.of(scan.image), size=(64, 52, 40), spacing=model.info.recipe.grid.spacing)
    values = np.random.default_rng(0).normal(10, 1, grid.size).astype(np.float32)
    values[50:60, 3:14, 20:29] += 90
    large = replace(scan, image=grid.place(values))
    found, asked = [], []
    for first_look in (False, True):
        recipe = model.info.recipe.changed(inference={"first_look": first_look, "overlap": 0.5})
        info = model.info.model_copy(update={"recipe": recipe})
        predictor = Predictor(replace(model, info=info, cs=Bright()))  # type: ignore[arg-type]
        told: list[int] = []
        found.append(
            predictor(large, networks="cs", on_progress=lambda done, _, told=told: told.append(done))
        )
        asked.append(told[-1])
    plain, looked = found
    assert Geometry.of(looked.label) == Geometry.of(looked.uncertainty) == grid
    assert np.array_equal(voxels(plain.label), voxels(looked.label))
    assert voxels(looked.label).any()
    assert plain.report.volumes_ml == looked.report.volumes_ml
    assert asked[1] < asked[0]


def test_a_slab_is_let_go_before_the_windows_of_the_next_one_are_asked(
    model: Model, scan: Scan, monkeypatch: pytest.MonkeyPatch
) -> None:
    past: list[weakref.ref[Tensor]] = []

    class Watching(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            assert all(slab() is None for slab in past)
            return image.expand(-1, 3, -1, -1, -1)

    def watched(*args: Any, **how: Any) -> Reading:
        reading = read(*args, **how)

        def slabs() -> Iterator[NetworkProbabilities]:
            for slab in reading.slabs:
                past.append(weakref.ref(slab.mean))
                yield slab
                del slab

        return replace(reading, slabs=slabs())

    monkeypatch.setattr(predictor, "read", watched)
    recipe = model.info.recipe.changed(inference={"first_look": False, "overlap": 0.75})
    info = model.info.model_copy(update={"recipe": recipe})
    Predictor(replace(model, info=info, cs=Watching()))(scan)  # type: ignore[arg-type]
    assert len(past) > 1, "the scan is wider than a window"


def test_disagreement_is_one_minus_dice_of_both_outlines(recipe: Recipe) -> None:
    def outline(*classes: int) -> Tensor:
        return torch.nn.functional.one_hot(torch.tensor(classes), 3).T.float().view(3, 1, 1, -1)

    one, other = outline(0, 1, 1, 2, 0), outline(0, 1, 2, 2, 2)
    assert NetworkProbabilities(one, other, one).disagreement == pytest.approx(1 - 2 * 2 / (3 + 4))
    assert NetworkProbabilities(one, one, one).disagreement == 0
    nothing = outline(0, 0, 0, 0, 0)
    assert NetworkProbabilities(nothing, nothing, nothing).disagreement == 1
    assert NetworkProbabilities(one, None, one).disagreement is None
    assert recipe.classes == 3


def test_uncertainty_is_the_entropy_over_its_largest_value() -> None:
    probabilities = np.array([[1.0, 1 / 3, 0.5], [0.0, 1 / 3, 0.5], [0.0, 1 / 3, 0.0]]).reshape(3, 1, 1, 3)
    expected = [0, 1, np.log(2) / np.log(3)]
    np.testing.assert_allclose(
        entropy(probabilities).ravel(), np.round(np.multiply(expected, 255)) / 255, atol=1e-6
    )


def test_of_equal_classes_the_first_one_is_the_most_probable() -> None:
    values = torch.randint(0, 3, (5, 7, 6, 4), generator=torch.Generator().manual_seed(0)).float()
    expected = np.argmax(values.numpy(), axis=0)
    found = most_probable(values)
    assert found.dtype == torch.uint8
    assert np.array_equal(found.numpy(), expected)


def test_each_class_keeps_its_largest_piece(recipe: Recipe) -> None:
    label = np.zeros((9, 3, 3), int)
    label[0:3], label[8, 0, 0], label[5:7], label[4, 0, 0] = 1, 1, 2, 1
    probabilities = np.moveaxis(np.eye(3)[label], -1, 0)
    kept = decide(probabilities, recipe.changed(inference={"largest_component": True}))
    assert [(kept == value).sum() for value in (1, 2)] == [27, 18]
    assert np.array_equal(decide(probabilities, recipe), label)


def test_only_classes_of_one_piece_lose_their_smaller_ones(recipe: Recipe) -> None:
    label = np.zeros((9, 3, 3), int)
    label[0:3], label[8, 0, 0], label[5:7], label[4, 2, 2] = 1, 1, 2, 1
    label[8, 2, 2] = 2
    probabilities = np.moveaxis(np.eye(3)[label], -1, 0)
    kept = decide(probabilities, recipe.changed(inference={"largest_component": [2]}))
    assert np.array_equal(kept == 1, label == 1)
    assert [(kept == 2).sum(), (label == 2).sum()] == [18, 19]


def test_an_empty_result_is_said(model: Model, scan: Scan) -> None:
    class Nothing(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return torch.cat([image * 0 + 9, image * 0, image * 0], dim=1)

    report = Predictor(replace(model, cs=Nothing()))(scan, networks="cs").report  # type: ignore[arg-type]
    assert "Nothing was found." in report.warnings
    assert set(report.volumes_ml.values()) == {0.0}
    assert report.disagreement is None


def test_the_report_names_its_model_and_times_every_stage(model: Model, scan: Scan) -> None:
    report = Predictor(model)(scan).report
    assert (report.case, report.model, report.version) == ("noise", "organ", 3)
    assert list(report.seconds) == ["prepare", "networks", "restore", "postprocess"]
    assert 0 <= report.disagreement <= 1  # type: ignore[operator]


def test_ds_is_not_asked_without_being_there(recipe: Recipe) -> None:
    with pytest.raises(ValueError, match="DS is asked but not given"):
        predict_probabilities(torch.zeros(1, 8, 8, 8), recipe, nn.Identity(), None)


def test_remarks_of_the_reader_are_warnings(model: Model, scan: Scan) -> None:
    remarked = replace(scan, remarks=("One slice was missing.",), path=Path("b"))
    assert Predictor(model)(remarked).report.warnings[0] == "One slice was missing."

"""The ensemble weight is chosen on validation scans, and doubt is judged on them."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from diffcl.data.cases import Cases
from diffcl.data.preprocess import prepare
from diffcl.evaluation.calibration import Reliability
from diffcl.evaluation.metrics import dice, evaluate_case
from diffcl.evaluation.scores import CaseScore, ClassScore, Scores
from diffcl.geometry import voxels
from diffcl.inference.ensemble import NetworkProbabilities
from diffcl.inference.expected_error import expected_error
from diffcl.inference.predictor import decide
from diffcl.inference.reading import Reading, predict_probabilities, read
from diffcl.models.metadata import ModelInfo
from diffcl.models.profile import Profile
from diffcl.models.weights import Model
from diffcl.publishing import ensemble_weight
from diffcl.publishing.card import write_card
from diffcl.publishing.ensemble_weight import WEIGHTS_TRIED, choose_ensemble_weight
from diffcl.recipe import Recipe
from diffcl.training.validation import ValidationScan, read_validation, unpublished


class Seer(nn.Module):
    """A network that finds the bright organ by its intensities, or sees nothing at all."""

    def __init__(self, sees: bool) -> None:
        super().__init__()
        self.sees = sees

    def forward(self, image: Tensor, *_: Tensor) -> Tensor:
        head, tail = image > 0.6, (image > -0.2) & (image <= 0.6)
        logits = torch.cat([~(head | tail), head, tail], dim=1).float() * 8
        return (
            logits if self.sees else torch.eye(3, device=image.device)[0].view(1, 3, 1, 1, 1) * 4 + 0 * logits
        )


@pytest.mark.parametrize(
    ("cs_sees", "ds_sees", "low", "high"), [(True, False, 0, 0.5), (False, True, 0.5, 1)]
)
def test_the_network_that_sees_gets_the_weight(
    cs_sees: bool, ds_sees: bool, low: float, high: float, cases: Cases, recipe: Recipe
) -> None:
    model = unpublished(recipe, Seer(cs_sees), Seer(ds_sees), torch.device("cpu"))  # type: ignore[arg-type]
    weight, scores = choose_ensemble_weight(
        model, [read_validation(case, recipe) for case in cases.validation]
    )
    assert low <= weight <= high
    better, worse = ("cs", "ds") if cs_sees else ("ds", "cs")
    assert scores["ensemble"].dice == pytest.approx(scores[better].dice)
    assert scores[worse].dice == 0
    assert scores[worse].cases[0].doubt == 1, "nothing was found"
    assert scores[better].cases[0].doubt < 0.2
    assert scores["ensemble"].cases[0].disagreement == 1
    assert scores[better].cases[0].disagreement is None


class Blurred(nn.Module):
    """A network that is not sure of anything: its probabilities follow the intensities, and noise that it keeps."""

    def __init__(self, seed: int, classes: int = 3) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(seed)
        self.ends = torch.randn(classes, generator=random).view(1, -1, 1, 1, 1)
        self.noise = torch.randn(1, classes, 40, 40, 40, generator=random)

    def forward(self, image: Tensor, *_: Tensor) -> Tensor:
        x, y, z = image.shape[2:]
        logits = 3 * image * self.ends + 0.7 * self.noise[..., :x, :y, :z]
        return torch.cat([logits[:, :1] + 1.5, logits[:, 1:]], dim=1)


def by_definition(model: Model, scans: list[ValidationScan]) -> tuple[float, dict[str, Scores]]:
    """What `choose_ensemble_weight` finds, computed on whole probabilities of all scans."""
    recipe, kept = model.info.recipe, []
    for one in scans:
        prepared = prepare(one.scan, recipe)
        found = predict_probabilities(prepared.image, recipe, model.cs, model.ds)
        assert found.cs is not None
        assert found.ds is not None
        whole = [
            prepared.restore(part).astype(np.float16).astype(np.float32) for part in (found.cs, found.ds)
        ]
        halves = found.cs.half(), found.ds.half()
        kept.append((one, prepared.original, whole, halves))

    def mixed(weight: float, pair: list[Any]) -> Any:
        return (1 - weight) * pair[0] + weight * pair[1]

    def quality(weight: float) -> tuple[float, float]:
        every = []
        for one, _, whole, _ in kept:
            label, truth = decide(mixed(weight, whole), recipe), voxels(one.truth)
            every.append(np.mean([dice(label == n, truth == n) for n in range(1, recipe.classes)]))
        return round(float(np.mean(every)), 4), -abs(weight - 0.5)

    def scores(weight: float, *, alone: bool) -> Scores:
        reliability, cases = Reliability(), []
        for one, grid, whole, halves in kept:
            reliability.add(mixed(weight, whole), voxels(one.truth))
            label = grid.place(decide(mixed(weight, whole), recipe))
            disagreement = None if alone else NetworkProbabilities(*halves, halves[0]).disagreement
            doubt = expected_error(mixed(weight, [half.float() for half in halves]))
            classes = evaluate_case(label, one.truth, recipe.labels)
            cases.append(CaseScore(one.name, classes, disagreement, doubt))
        return Scores(tuple(cases), reliability)

    best = max(WEIGHTS_TRIED, key=quality)
    return best, {
        "ensemble": scores(best, alone=False),
        "cs": scores(0.0, alone=True),
        "ds": scores(1.0, alone=True),
    }


@pytest.mark.parametrize("largest", [True, False], ids=["largest components", "all components"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_trying_all_weights_at_once_finds_what_whole_probabilities_say(
    seed: int, largest: bool, cases: Cases, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffcl.data.restore._SLAB_VOXELS", 1500)
    monkeypatch.setattr("diffcl.inference.ensemble.SLAB", 5)
    recipe = recipe.changed(inference={"largest_component": largest})
    networks = Blurred(seed), Blurred(seed + 100) if seed else Seer(sees=False)
    model = unpublished(recipe, *networks, torch.device("cpu"))  # type: ignore[arg-type]
    scans = [read_validation(case, recipe) for case in (*cases.validation, *cases.labelled)]
    weight, found = choose_ensemble_weight(model, scans)
    best, wanted = by_definition(model, scans)
    assert weight == best
    for name, one in found.items():
        assert one.cases == wanted[name].cases, name
        assert one.numbers() == wanted[name].numbers()
        assert one.reliability is not None
        np.testing.assert_allclose(one.reliability.curve, wanted[name].reliability.curve, rtol=1e-12)  # type: ignore[union-attr]


def test_slabs_are_let_go_one_after_the_other(
    cases: Cases, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe.changed(inference={"overlap": 0.9})
    model = unpublished(recipe, Seer(sees=True), Seer(sees=True), torch.device("cpu"))  # type: ignore[arg-type]
    past: list[weakref.ref[Tensor]] = []

    def watched(*args: Any, **how: Any) -> Reading:
        reading = read(*args, **how)

        def slabs() -> Iterator[NetworkProbabilities]:
            for slab in reading.slabs:
                assert slab.cs is not None
                past.append(weakref.ref(slab.cs))
                assert sum(one() is not None for one in past) <= 2
                yield slab

        return replace(reading, slabs=slabs())

    monkeypatch.setattr(ensemble_weight, "read", watched)
    choose_ensemble_weight(model, [read_validation(cases.validation[0], recipe)])
    assert len(past) > 2, "the scan is wider than two windows that overlap"


def test_networks_that_see_nothing_in_scans_without_an_object_agree_with_them(
    cases: Cases, recipe: Recipe
) -> None:
    model = unpublished(recipe, Seer(sees=False), Seer(sees=False), torch.device("cpu"))  # type: ignore[arg-type]
    one = read_validation(cases.validation[0], recipe)
    empty = replace(one, classes=lambda: one.classes() * 0)
    weight, found = choose_ensemble_weight(model, [empty])
    assert weight == 0.5
    assert (found["ensemble"].dice, found["ensemble"].hd95) == (1, 0)


def scores(doubts: list[float]) -> Scores:
    cases = tuple(
        CaseScore(str(number), (ClassScore("organ", 0.95 - 0.02 * number, 0.9, 1.0, 0.5),), 0.1, doubt)
        for number, doubt in enumerate(doubts)
    )
    reliability = Reliability()
    reliability.add(np.array([[[[0.1]]], [[[0.9]]]]), np.ones((1, 1, 1)))
    return Scores(cases, reliability)


def test_doubt_that_ranks_all_scans_rightly_has_full_marks() -> None:
    numbers = scores([0.01 * number for number in range(9)]).numbers()
    assert numbers["doubt_rank"] == 1
    assert numbers["failure_auc"] == 1  # those from the sixth on are below 0.85
    assert numbers["calibration_error"] == 0.1


def test_few_scans_say_nothing_about_an_order() -> None:
    assert "doubt_rank" not in scores([0.1, 0.2, 0.3]).numbers()
    assert "failure_auc" not in scores([0.1, 0.2, 0.3]).numbers()


def test_the_card_says_how_far_doubt_can_be_believed(recipe: Recipe) -> None:
    found = scores([0.01 * number for number in range(9)]).numbers()
    info = ModelInfo(
        name="organ", version=1, created="2026-01-01", recipe=recipe, profile=Profile(modality="MR"),
        scores={"ensemble": found, "cs": {**found, "calibration_error": 0.2}},
        provenance={"labelled": ["a"], "unlabelled": [], "validation": ["b"], "best_step": 6,
                    "diffcl": "0", "torch": "0"},
    )  # fmt: skip
    card = write_card(info, pictured=False)
    assert "doubt.png" not in card
    assert "between the doubt of a scan and 1 - Dice: 1.00 (ensemble), 1.00 (CS)." in card
    assert "0.100 (ensemble), 0.200 (CS)." in card

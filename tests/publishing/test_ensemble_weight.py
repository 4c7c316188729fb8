"""The ensemble weight is chosen on validation scans, and doubt is judged on them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from diffcl.data.cases import Cases
from diffcl.evaluation.calibration import Reliability
from diffcl.models.metadata import ModelInfo
from diffcl.models.profile import Profile
from diffcl.publishing.card import write_card
from diffcl.publishing.ensemble_weight import choose_ensemble_weight
from diffcl.recipe import Recipe
from diffcl.training.validation import CaseScore, Scores, read_validation, unpublished


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


def scores(doubts: list[float]) -> Scores:
    cases = tuple(
        CaseScore(str(number), 0.95 - 0.02 * number, 1.0, 0.1, doubt) for number, doubt in enumerate(doubts)
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

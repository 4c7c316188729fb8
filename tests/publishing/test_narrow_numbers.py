"""What a version loses in bfloat16 is measured when it is published, and told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from diffcl.data.cases import Cases, find_cases
from diffcl.models import ModelInfo, ModelRegistry
from diffcl.models.profile import Profile
from diffcl.publishing import publish
from diffcl.publishing.card import write_card
from diffcl.recipe import Recipe
from diffcl.training import train
from diffcl.training.validation import read_validation, validate


@pytest.fixture(scope="module")
def run(data: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    train(find_cases(data, labelled=3, validation=1), recipe, folder)
    return folder


def test_the_loss_is_the_difference_on_the_validation_scans(
    run: Path, cases: Cases, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    folder = publish(run, "organ", ModelRegistry(tmp_path))
    model = ModelRegistry(tmp_path).load("organ")
    scans = [read_validation(case, recipe) for case in cases.validation]
    single, half = (validate(scans, model, engine=name).dice for name in ("torch", "bfloat16"))
    told = model.info.provenance["bfloat16"]
    assert told["dice"] == pytest.approx(half, abs=1e-4)
    assert model.info.bfloat16_loss == pytest.approx(single - half, abs=2e-4)
    assert told["dice_loss_worst"] == pytest.approx(model.info.bfloat16_loss)
    assert told["scans"] == 1
    assert "**bfloat16.** Mean Dice" in (folder / "card.md").read_text()


def test_a_processor_without_the_instructions_measures_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    folder = publish(run, "organ", ModelRegistry(tmp_path))
    assert ModelRegistry(tmp_path).info("organ").bfloat16_loss is None
    assert "bfloat16" not in (folder / "card.md").read_text()


@pytest.mark.parametrize(
    ("measured", "sentences"),
    [({"dice": 0.8501, "dice_loss": 0.0004, "dice_loss_worst": 0.002, "scans": 9},
      ["0.8501 on 9", "0.0004 less than", "0.0020 less on one scan", "by processors with AMX unless"]),
     ({"dice": 0.84, "dice_loss": 0.0123, "dice_loss_worst": 0.1, "scans": 9}, ["0.0123 less", "by none unless"]),
     ({"dice": 0.86, "dice_loss": -0.002, "dice_loss_worst": -0.001, "scans": 2}, ["0.0020 more", "0.0000 less on"])],
    ids=["little", "much", "gain"],
)  # fmt: skip
def test_the_card_says_what_is_lost_and_who_computes_so(
    recipe: Recipe, measured: dict[str, Any], sentences: list[str]
) -> None:
    info = ModelInfo(
        name="organ", version=1, created="2026-01-01", recipe=recipe, profile=Profile(modality="MR"),
        provenance={"labelled": ["a"], "unlabelled": [], "validation": ["b"], "best_step": 6,
                    "diffcl": "0", "torch": "0", "bfloat16": measured},
    )  # fmt: skip
    card = write_card(info, pictured=False)
    assert all(sentence in card for sentence in sentences)

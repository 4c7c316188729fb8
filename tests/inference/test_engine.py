"""Networks in bfloat16: who computes them so, and what they say."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from diffcl.errors import UsageError
from diffcl.geometry import voxels
from diffcl.inference import Predictor
from diffcl.inference.engine import HARMLESS, choose_engine
from diffcl.io import Scan
from diffcl.models import Model


def measured(model: Model, provenance: dict[str, Any]) -> Model:
    """The same model with a record."""
    return replace(model, info=model.info.model_copy(update={"provenance": provenance}))


@pytest.fixture(autouse=True)
def _able(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that excels in bfloat16; what has no instructions for it computes the same, slowly."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})


@pytest.mark.parametrize(
    ("record", "expected"),
    [({}, "torch"), ({"bfloat16": {"dice_loss": 0.0004}}, "bfloat16"),
     ({"bfloat16": {"dice_loss": -0.01}}, "bfloat16"), ({"bfloat16": {"dice_loss": HARMLESS}}, "torch"),
     ({"bfloat16": {"dice_loss": math.nan}}, "torch"), ({"bfloat16": {"dice_loss": "0"}}, "torch"),
     ({"bfloat16": "harmless"}, "torch"), ({"engine": "onnx", "bfloat16": {"dice_loss": 0}}, "onnx"),
     ({"engine": "bfloat16"}, "torch")],
    ids=["never measured", "loses little", "gains", "loses", "no number", "a text", "no record", "for ONNX", "said"],
)  # fmt: skip
def test_a_version_is_computed_in_bfloat16_where_that_was_measured_to_cost_nothing(
    model: Model, record: dict[str, Any], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffcl.inference.engine._onnx", lambda _: replace(choose_engine(model), name="onnx"))
    assert choose_engine(measured(model, record)).name == expected


def test_only_processors_that_excel_do_so_unasked(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    harmless = measured(model, {"bfloat16": {"dice_loss": 0.0}})
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert choose_engine(harmless).name == "torch"
    assert choose_engine(harmless, "bfloat16").name == "bfloat16"
    assert choose_engine(replace(harmless, device=torch.device("cuda"))).name == "torch"


def test_a_processor_without_the_instructions_is_told_so(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": True})
    with pytest.raises(UsageError, match=r"bfloat16.*no instructions for it.*--engine torch"):
        choose_engine(model, "bfloat16")
    with pytest.raises(UsageError, match="computes on the CPU"):
        choose_engine(replace(model, device=torch.device("cuda")), "bfloat16")


def test_the_answer_is_float32_and_near_that_of_float32(model: Model, scan: Scan) -> None:
    single, half = (Predictor(model, name)(scan, keep_probabilities=True) for name in ("torch", "bfloat16"))
    assert half.report.engine == "bfloat16"
    for one, other in zip(single.probabilities, half.probabilities, strict=True):
        np.testing.assert_allclose(voxels(one), voxels(other), atol=0.05)
    logits = choose_engine(model, "bfloat16").cs(torch.ones(1, 1, 8, 8, 8))
    assert logits.dtype == torch.float32
    assert not torch.is_autocast_enabled("cpu")


def test_the_label_does_not_depend_on_the_number_of_threads(model: Model, scan: Scan) -> None:
    threads, labels = torch.get_num_threads(), []
    for count in (1, 2):
        torch.set_num_threads(count)
        labels.append(voxels(Predictor(model, "bfloat16")(scan).label))
    torch.set_num_threads(threads)
    assert np.array_equal(*labels)

"""In which number format a training computes."""

from __future__ import annotations

import pytest
import torch

from diffcl.recipe import Recipe, Training
from diffcl.training import precision
from diffcl.training.precision import in_half
from diffcl.training.state import TrainingState

CPU = torch.device("cpu")


@pytest.mark.parametrize("faster", [True, False])
@pytest.mark.parametrize(
    ("able", "has"),
    [({"avx512_f": True, "avx512_bf16": True}, True), ({"amx_bf16": True}, True),
     ({"avx512_f": True, "avx512_bf16": False}, False), ({"neon": True, "bf16": True}, True), ({}, False)],
    ids=["AVX-512 with bfloat16", "AMX", "AVX-512 without", "ARM", "nothing known"],
)  # fmt: skip
def test_bfloat16_is_for_processors_that_have_it_and_are_faster_in_it(
    able: dict[str, bool], has: bool, faster: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    monkeypatch.setattr(precision, "half_is_faster", lambda: faster)
    assert in_half(Training(), CPU) is (has and faster)
    assert in_half(Training(precision="bfloat16"), CPU)
    assert not in_half(Training(precision="float32"), CPU)


@pytest.mark.parametrize(("half", "single", "faster"), [(1.0, 2.0, True), (2.0, 1.0, False)])
def test_what_is_faster_is_measured(
    half: float, single: float, faster: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert precision.convolution_seconds(half=True) > 0
    disturbed = iter([100.0])

    def seconds(*, half: bool) -> float:
        return next(disturbed, 0.0) + times[half]

    times = {True: half, False: single}
    monkeypatch.setattr(precision, "convolution_seconds", seconds)
    assert precision.half_is_faster.__wrapped__() is faster


def test_a_run_keeps_its_format_where_it_is_continued(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe.changed(training={"precision": "auto"})
    monkeypatch.setattr("diffcl.training.state.in_half", lambda *_: True)
    here = TrainingState(recipe, CPU)
    with here.computing():
        assert torch.is_autocast_enabled("cpu")
    monkeypatch.setattr("diffcl.training.state.in_half", lambda *_: False)
    there = TrainingState(recipe, CPU)
    there.restore(here.state())
    with there.computing():
        assert torch.is_autocast_enabled("cpu")

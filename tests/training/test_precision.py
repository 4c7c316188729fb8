"""In which number format a training computes."""

from __future__ import annotations

import pytest
import torch

from diffcl.recipe import Training
from diffcl.training.precision import computing, in_half

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("able", "half"),
    [({"avx512_f": True, "avx512_bf16": True}, True), ({"amx_bf16": True}, True),
     ({"avx512_f": True, "avx512_bf16": False}, False), ({"neon": True, "bf16": True}, True), ({}, False)],
    ids=["AVX-512 with bfloat16", "AMX", "AVX-512 without", "ARM", "nothing known"],
)  # fmt: skip
def test_bfloat16_is_for_processors_that_compute_in_it(
    able: dict[str, bool], half: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    assert in_half(Training(), CPU) is half
    assert in_half(Training(precision="bfloat16"), CPU)
    assert not in_half(Training(precision="float32"), CPU)


def test_products_have_the_format_that_was_chosen_and_weights_stay_as_they_are() -> None:
    layer = torch.nn.Linear(2, 2)
    with computing(Training(precision="bfloat16"), CPU):
        assert layer(torch.ones(1, 2)).dtype == torch.bfloat16
    with computing(Training(precision="float32"), CPU):
        assert layer(torch.ones(1, 2)).dtype == torch.float32
    assert layer.weight.dtype == torch.float32

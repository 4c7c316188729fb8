"""Which processors compute in bfloat16, and which of them excel in it."""

from __future__ import annotations

import pytest
import torch

from diffcl.networks.precision import computing, excels_in_bfloat16, knows_bfloat16

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("able", "knows", "excels"),
    [({"avx512_f": True, "avx512_bf16": True}, True, False), ({"amx_bf16": True, "avx512_bf16": True}, True, True),
     ({"avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, False, False),
     ({"neon": True, "bf16": True}, True, False), ({}, False, False)],
    ids=["AVX-512 with bfloat16", "AMX", "AVX-512 without", "ARM", "nothing known"],
)  # fmt: skip
def test_the_processor_alone_decides(
    able: dict[str, bool], knows: bool, excels: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    assert knows_bfloat16() is knows
    assert excels_in_bfloat16() is excels


def test_products_have_the_format_that_was_chosen_and_weights_stay_as_they_are() -> None:
    layer = torch.nn.Linear(2, 2)
    with computing(CPU, half=True):
        assert layer(torch.ones(1, 2)).dtype == torch.bfloat16
    with computing(CPU, half=False):
        assert layer(torch.ones(1, 2)).dtype == torch.float32
    assert layer.weight.dtype == torch.float32

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any

import pytest
import torch

from diffcl.networks.mamba import Mamba


@pytest.fixture
def mamba_ssm(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`mamba_ssm.Mamba`, with its own reference in place of its CUDA kernel."""
    spec = importlib.util.find_spec("mamba_ssm")
    assert spec is not None, "mamba-ssm is missing: run make test, which installs it without its kernels"
    package = ModuleType("mamba_ssm")  # its __init__ would import language models
    package.__path__ = list(spec.submodule_search_locations or [])
    monkeypatch.setitem(sys.modules, "mamba_ssm", package)
    monkeypatch.setitem(sys.modules, "selective_scan_cuda", ModuleType("selective_scan_cuda"))
    from mamba_ssm.modules import mamba_simple
    from mamba_ssm.ops.selective_scan_interface import selective_scan_ref

    monkeypatch.setattr(mamba_simple, "selective_scan_fn", selective_scan_ref)
    monkeypatch.setattr(mamba_simple, "causal_conv1d_fn", None)
    return mamba_simple.Mamba


SHAPES = [
    {"d_model": 16},
    {"d_model": 24, "d_state": 8, "d_conv": 2, "expand": 1},
    {"d_model": 10, "dt_rank": 3, "bias": True, "conv_bias": False},
    {"d_model": 32, "dt_init": "constant", "expand": 3},
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_state_dict_of_mamba_ssm_gives_the_output_of_mamba_ssm(mamba_ssm: Any, shape: dict[str, Any]) -> None:
    theirs, ours = mamba_ssm(**shape, use_fast_path=False), Mamba(**shape)
    ours.load_state_dict(theirs.state_dict())
    tokens = torch.randn(2, 37, shape["d_model"], requires_grad=True)
    same = tokens.detach().clone().requires_grad_()
    got, want = ours(tokens), theirs(same)
    torch.testing.assert_close(got, want)
    got.square().sum().backward()
    want.square().sum().backward()
    torch.testing.assert_close(tokens.grad, same.grad)
    for (name, parameter), like in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, like.grad, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_state_dict_moves_to_mamba_ssm(mamba_ssm: Any, shape: dict[str, Any]) -> None:
    mamba_ssm(**shape).load_state_dict(Mamba(**shape).state_dict())


def test_same_seed_starts_as_mamba_ssm_does(mamba_ssm: Any) -> None:
    ours, theirs = Mamba(48), mamba_ssm(48)
    assert torch.equal(ours.A_log, theirs.A_log)
    assert torch.equal(ours.D, theirs.D)
    for block in (ours, theirs):
        steps = torch.nn.functional.softplus(block.dt_proj.bias)
        assert 0.001 * 0.999 < steps.min() < 0.01 < steps.max() < 0.1 * 1.001
        assert block.dt_proj.weight.abs().max() <= block.dt_rank**-0.5


def test_reverse_reads_the_flipped_sequence() -> None:
    block = Mamba(8)
    tokens = torch.randn(2, 21, 8)
    torch.testing.assert_close(block(tokens, reverse=True), block(tokens.flip(1)).flip(1))


def test_both_ways_is_the_sum_of_the_two_readings() -> None:
    block = Mamba(8)
    tokens = torch.randn(2, 21, 8)
    torch.testing.assert_close(block.both_ways(tokens), block(tokens) + block(tokens, reverse=True))


def test_output_sees_only_what_was_read_before() -> None:
    block = Mamba(8)
    tokens = torch.randn(1, 20, 8)
    changed = tokens.clone()
    changed[:, 12] += 1
    before, after = block(tokens), block(changed)
    assert torch.equal(before[:, :12], after[:, :12])
    assert not torch.allclose(before[:, 12:], after[:, 12:])


def test_autocast_to_bfloat16_stays_near_float32() -> None:
    block = Mamba(16)
    tokens = torch.randn(1, 50, 16)
    with torch.autocast("cpu", torch.bfloat16):
        got = block(tokens)
    torch.testing.assert_close(got.float(), block(tokens), rtol=0.05, atol=0.02)

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.autograd.graph import saved_tensors_hooks

from diffcl.networks.kernels.simd import compiled
from diffcl.networks.selective_scan import scan_by_definition, selective_scan

EXACT = 1e-5  # of the largest value


class Inputs(NamedTuple):
    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None = None
    z: Tensor | None = None
    delta_bias: Tensor | None = None
    delta_softplus: bool = False

    def copied(self, dtype: torch.dtype) -> Inputs:
        """The same numbers as leaves of their own; a volume keeps its layout."""
        return Inputs(*(v.to(dtype, copy=True).requires_grad_() if torch.is_tensor(v) else v for v in self))


def scan_inputs(
    length: int,
    *,
    items: int = 2,
    channels: int = 5,
    states: int = 3,
    tokens_first: bool = False,
    gated: bool = True,
    decay: float = 1.0,
) -> Inputs:
    """Random inputs; `tokens_first` puts the channels of a token beside each other in memory."""
    rng = torch.Generator().manual_seed(length)

    def volume(width: int) -> Tensor:
        if tokens_first:
            return torch.randn(items, length, width, generator=rng).mT
        return torch.randn(items, width, length, generator=rng)

    A = -decay * torch.rand(channels, states, generator=rng)
    plain = Inputs(volume(channels), volume(channels), A, volume(states), volume(states), delta_softplus=True)
    if not gated:
        return plain._replace(delta=plain.delta.abs(), delta_softplus=False)
    vectors = torch.randn(2, channels, generator=rng)
    return plain._replace(D=vectors[0], z=volume(channels), delta_bias=vectors[1])


def gradients(out: Tensor, inputs: Inputs, arriving: Tensor) -> list[Tensor]:
    leaves = [value for value in inputs if torch.is_tensor(value)]
    return list(torch.autograd.grad(out, leaves, arriving.to(out.dtype)))


def assert_equal_to_definition(inputs: Inputs, *, reverse: bool = False) -> None:
    fast, slow = inputs.copied(torch.float32), inputs.copied(torch.float64)
    got, want = selective_scan(*fast, reverse=reverse), scan_by_definition(*slow, reverse=reverse)
    arriving = torch.randn(want.shape, generator=torch.Generator().manual_seed(1))
    pairs = zip(
        ["out", *Inputs._fields],
        [got, *gradients(got, fast, arriving)],
        [want, *gradients(want, slow, arriving)],
        strict=False,
    )
    for name, ours, theirs in pairs:
        error, largest = (ours - theirs).abs().max(), theirs.abs().max()
        assert error <= EXACT * largest, f"{name} is wrong by {error:.1e}, where {largest:.1e} is the largest"


@pytest.mark.parametrize("length", [1, 7, 16, 63, 64, 65, 200, 1000])
def test_fast_scan_is_the_definition(length: int) -> None:
    assert_equal_to_definition(scan_inputs(length))


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("tokens_first", [False, True], ids=["channels-first", "tokens-first"])
@pytest.mark.parametrize(("channels", "states"), [(1, 1), (16, 16), (37, 20), (64, 8)])
def test_any_width_state_and_layout_is_the_definition(
    channels: int, states: int, tokens_first: bool, reverse: bool
) -> None:
    inputs = scan_inputs(90, channels=channels, states=states, tokens_first=tokens_first)
    assert_equal_to_definition(inputs, reverse=reverse)


@pytest.mark.parametrize("tokens_first", [False, True], ids=["channels-first", "tokens-first"])
def test_scan_without_gate_skip_bias_and_softplus_is_the_definition(tokens_first: bool) -> None:
    assert_equal_to_definition(scan_inputs(90, gated=False, tokens_first=tokens_first))


@pytest.mark.parametrize("decay", [1e-9, 1e-4, 1e2, 1e6])
def test_extreme_decay_rates_are_the_definition(decay: float) -> None:
    assert_equal_to_definition(scan_inputs(300, decay=decay))


@pytest.mark.parametrize("rate", [0.0, 1e-8, 1e-5, 1e-3, 1.0, 50.0, 1e4])
def test_long_constant_input_sums_to_the_geometric_series(rate: float) -> None:
    length, step = 100_000, 0.3
    constant = torch.full((1, 1, length), 0.7)
    u, b = constant.clone().requires_grad_(), constant.clone().requires_grad_()
    y = selective_scan(
        u, torch.full_like(constant, step), torch.tensor([[-rate]]), b, torch.ones_like(constant)
    )
    y.sum().backward()
    exponent = rate * torch.tensor(step, dtype=torch.float32).double()
    tokens = torch.arange(1, length + 1, dtype=torch.float64)
    sums = torch.expm1(-exponent * tokens) / torch.expm1(-exponent) if rate else tokens
    first = torch.tensor(step).double() * torch.tensor(0.7).double()
    assert u.grad is not None
    assert b.grad is not None
    for got, want in (
        (y, first * 0.7 * sums),
        (u.grad, first * sums.flip(0)),
        (b.grad, first * sums.flip(0)),
    ):
        torch.testing.assert_close(got.detach().double().flatten(), want, rtol=EXACT, atol=0)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_float64_passes_gradcheck(reverse: bool) -> None:
    inputs = scan_inputs(6, items=1, channels=2, states=2).copied(torch.float64)
    assert gradcheck(lambda *args: selective_scan(*args, reverse=reverse), tuple(inputs))


@pytest.mark.parametrize("tokens_first", [False, True], ids=["channels-first", "tokens-first"])
def test_bfloat16_is_the_float32_result_rounded(tokens_first: bool) -> None:
    halves = scan_inputs(70, channels=20, tokens_first=tokens_first).copied(torch.bfloat16)
    floats = halves.copied(torch.float32)
    got, want = selective_scan(*halves), selective_scan(*floats)
    arriving = torch.randn(want.shape).bfloat16()
    assert got.dtype == torch.bfloat16
    assert torch.equal(got, want.bfloat16())
    for ours, theirs in zip(gradients(got, halves, arriving), gradients(want, floats, arriving), strict=True):
        assert torch.equal(ours, theirs.bfloat16())


def test_not_a_number_stays_one_in_bfloat16() -> None:
    inputs = scan_inputs(5).copied(torch.bfloat16)
    with torch.no_grad():
        inputs.u[:, :, 2] = torch.nan
    assert selective_scan(*inputs).isnan()[0, 0].tolist() == [False, False, True, True, True]


def test_reverse_is_the_scan_of_the_flipped_tokens() -> None:
    inputs = scan_inputs(80)
    flipped = inputs._replace(
        **{name: getattr(inputs, name).flip(-1) for name in ("u", "delta", "B", "C", "z")}
    )
    assert torch.equal(selective_scan(*inputs, reverse=True), selective_scan(*flipped).flip(-1))


@pytest.mark.usefixtures("threads")
def test_result_does_not_depend_on_the_number_of_threads() -> None:
    inputs = scan_inputs(100, channels=64, states=4).copied(torch.float32)
    arriving = torch.randn(inputs.u.shape)
    results = []
    for count in (1, 2, 3, 3):
        torch.set_num_threads(count)
        out = selective_scan(*inputs)
        results.append([out, *gradients(out, inputs, arriving)])
    for other in results[1:]:
        assert all(torch.equal(*pair) for pair in zip(results[0], other, strict=True))


@pytest.mark.usefixtures("threads")
def test_concurrent_scans_do_not_disturb_each_other() -> None:
    torch.set_num_threads(2)
    cases = [scan_inputs(length, channels=40).copied(torch.float32) for length in (50, 70, 90, 110) * 3]

    def work(inputs: Inputs) -> list[Tensor]:
        out = selective_scan(*inputs)
        return [out, *gradients(out, inputs, torch.ones_like(out))]

    want = [work(case) for case in cases]
    with ThreadPoolExecutor(6) as pool:
        got = list(pool.map(work, cases))
    for ours, theirs in zip(got, want, strict=True):
        assert all(torch.equal(*pair) for pair in zip(ours, theirs, strict=True))


def test_forked_child_scans_too() -> None:
    script = """
import os, torch
from diffcl.networks.selective_scan import selective_scan
torch.set_num_threads(2)
volume, weights = torch.ones(1, 64, 10), torch.ones(1, 2, 10)
scan = lambda: selective_scan(volume, volume, -torch.ones(64, 2), weights, weights)
want = scan()
child = os.fork()
if not child:
    os._exit(0 if torch.equal(scan(), want) else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=120, check=False).returncode == 0


def test_kernel_compiles_where_nothing_can_be_cached() -> None:
    double = eval("lambda x: 2 * x")  # made without a file, so there is no folder for a cache
    assert compiled(double)(21) == 42


def test_backward_keeps_no_state_for_every_token() -> None:
    inputs = scan_inputs(1024, channels=16, states=16, items=1).copied(torch.float32)
    kept = 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.numel()
        return tensor

    with saved_tensors_hooks(count, lambda tensor: tensor):
        selective_scan(*inputs)
    all_states = inputs.u.numel() * 16
    assert kept < all_states / 2


@pytest.mark.parametrize("shape", [(2, 5, 0), (0, 5, 9)], ids=["no token", "no item"])
def test_empty_volume_gives_an_empty_volume(shape: tuple[int, int, int]) -> None:
    inputs = scan_inputs(shape[2], items=shape[0]).copied(torch.float32)
    out = selective_scan(*inputs)
    assert out.shape == shape
    assert scan_by_definition(*inputs).shape == shape
    assert all(not gradient.any() for gradient in gradients(out, inputs, torch.ones(shape)))


@pytest.mark.parametrize(
    ("name", "shape"), [("delta", (2, 5, 8)), ("A", (4, 3)), ("B", (2, 5, 9)), ("z", (1, 5, 9)), ("D", (3,))]
)
def test_wrong_shape_is_named(name: str, shape: tuple[int, ...]) -> None:
    inputs = scan_inputs(9)._replace(**{name: torch.zeros(shape)})
    with pytest.raises(ValueError, match=name):
        selective_scan(*inputs)

"""The selective scan of Mamba: its definition, and the compiled form that runs on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from diffcl.networks.kernels import WIDTH
from diffcl.networks.kernels.scan_arguments import CHUNK, Gradients, Inputs, Volume
from diffcl.networks.kernels.switch import kernels_compute
from diffcl.networks.kernels.threads import for_each
from diffcl.networks.tracing import is_written

GRAPH_SCAN = "diffcl::SelectiveScan"
"""Operator that stands for `h[l] = exp(d[l] A) h[l-1] + d[l] B[l] u[l]; y[l] = C[l] . h[l]` in an ONNX graph; it
takes u, d, A, B and C."""


def scan_by_definition(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    *,
    reverse: bool = False,
) -> Tensor:
    """The selective scan as it is defined, one token after the other: for reading and for comparing with.

    With `d = softplus(delta + delta_bias)`, each channel has N states and

        h[l] = exp(d[l] A) h[l-1] + d[l] B[l] u[l],    y[l] = C[l] . h[l] + D u[l],    out = y silu(z)

    Computes in the precision of its arguments; see `selective_scan` for them.
    """
    if delta_bias is not None:
        delta = delta + delta_bias[:, None]
    if delta_softplus:
        delta = functional.softplus(delta)
    state = u.new_zeros(u.shape[0], *A.shape)
    outputs = []
    tokens = list(zip(*(volume.unbind(dim=2) for volume in (u, delta, B, C)), strict=True))
    for value, step, b, c in reversed(tokens) if reverse else tokens:
        push = (step * value)[:, :, None] * b[:, None]
        state = torch.exp(step[:, :, None] * A) * state + push
        outputs.append((state * c[:, None]).sum(dim=-1))
    y = torch.stack(outputs[::-1] if reverse else outputs, dim=2) if outputs else u
    if D is not None:
        y = y + D[:, None] * u
    return y if z is None else y * functional.silu(z)


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    *,
    reverse: bool = False,
) -> Tensor:
    """The selective scan, fast: equal to `scan_by_definition` in value and gradient.

    float32 and bfloat16 are computed in float32 by compiled kernels on as many threads as torch is set to
    use; the result is the same for any number of them. Memory grows with `B D L`. On a CUDA device with
    `mamba-ssm` installed its kernel runs. Everything else, float64 among it, is computed by definition.

    Args:
        u: Input, `(B, D, L)`, in any layout; tokens before channels in memory is the fastest.
        delta: Step sizes, `(B, D, L)`.
        A: Decay rates, `(D, N)`, usually negative.
        B: Input weights, `(B, N, L)`.
        C: Output weights, `(B, N, L)`.
        D: Weight of the input in the output, `(D,)`.
        z: Gate, `(B, D, L)`.
        delta_bias: Added to the step sizes, `(D,)`.
        delta_softplus: Apply softplus to the step sizes, after the bias.
        reverse: Read from the last token to the first, without flipped copies.

    Returns:
        `(B, D, L)`, of the type of `u`.

    Raises:
        ValueError: If the shapes do not fit each other.

    Source:
        Gu and Dao 2023 (Mamba), algorithm 2; arguments as in `mamba_ssm.ops.selective_scan_interface`.
    """
    if is_written():
        return _scan_in_a_graph(u, delta, A, B, C, D, z, delta_bias, delta_softplus, reverse)
    _check(u, delta, A, B, C, D, z, delta_bias)
    if u.device.type == "cuda" and (kernel := _cuda_kernel()) is not None:
        if reverse:
            u, delta, B, C = (tensor.flip(-1) for tensor in (u, delta, B, C))
            z = None if z is None else z.flip(-1)
        out: Tensor = kernel(u, delta, A, B, C, D, z, delta_bias, delta_softplus)
        return out.flip(-1) if reverse else out
    volumes = [volume for volume in (u, delta, B, C, z) if volume is not None]
    known = {volume.dtype for volume in volumes} <= {torch.float32, torch.bfloat16}
    if u.device.type != "cpu" or not known or not kernels_compute(_try, torch.float32):
        return scan_by_definition(u, delta, A, B, C, D, z, delta_bias, delta_softplus, reverse=reverse)
    training = torch.is_grad_enabled()
    fast: Tensor = _CompiledScan.apply(u, delta, A, B, C, D, z, delta_bias, delta_softplus, reverse, training)
    return fast


def _try(dtype: torch.dtype, backward: bool) -> None:
    """Have the kernels compiled; they are the same for volumes of all types."""
    u = torch.ones(1, 1, 1, dtype=dtype, requires_grad=backward)
    y = _CompiledScan.apply(u, u, u[0], u, u, None, None, None, False, False, backward)
    if backward:
        torch.autograd.grad(y.sum(), u)


def _check(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, *rest: Tensor | None) -> None:
    items, channels, length = u.shape
    states = A.shape[-1]
    D, z, delta_bias = rest
    for name, tensor, shape in (
        ("delta", delta, (items, channels, length)),
        ("A", A, (channels, states)),
        ("B", B, (items, states, length)),
        ("C", C, (items, states, length)),
        ("D", D, (channels,)),
        ("z", z, (items, channels, length)),
        ("delta_bias", delta_bias, (channels,)),
    ):
        if tensor is not None and tensor.shape != shape:
            raise ValueError(f"{name} has the shape {tuple(tensor.shape)}, u and A ask for {shape}")


@cache
def _cuda_kernel() -> Callable[..., Tensor] | None:
    try:
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
    except ImportError:
        return None
    kernel: Callable[..., Tensor] = selective_scan_fn
    return kernel


def _scan_in_a_graph(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    reverse: bool,
) -> Tensor:
    """The scan while torch writes a network as ONNX: one operator, and what surrounds it."""
    steps = delta if delta_bias is None else delta + delta_bias[:, None]
    steps = functional.softplus(steps) if delta_softplus else steps
    read = [volume.flip(-1) if reverse else volume for volume in (u, steps, B, C)]
    y: Tensor = _GraphScan.apply(*read[:2], A, *read[2:])
    y = y.flip(-1) if reverse else y
    y = y if D is None else y + D[:, None] * u
    return y if z is None else y * functional.silu(z)


class _GraphScan(torch.autograd.Function):
    """Stands for the operator while a graph is written; it computes nothing."""

    @staticmethod
    def forward(_: Any, u: Tensor, steps: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:  # noqa: ARG004
        return torch.empty_like(u)

    @staticmethod
    def symbolic(graph: Any, u: Any, *rest: Any) -> Any:
        return graph.op(GRAPH_SCAN, u, *rest).setType(u.type())


class _CompiledScan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        u: Tensor,
        delta: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        D: Tensor | None,
        z: Tensor | None,
        delta_bias: Tensor | None,
        delta_softplus: bool,
        reverse: bool,
        training: bool,
    ) -> Tensor:
        from diffcl.networks.kernels import selective_scan as kernel

        items, channels, length = u.shape
        blocks = -(-channels // WIDTH)
        chunks = -(-length // CHUNK) if training and any(ctx.needs_input_grad) else 0
        borders = torch.empty(items, blocks, chunks, A.shape[1] * WIDTH)
        out = _empty_like(u)
        inputs = _kernel_inputs(u, delta, A, B, C, D, z, delta_bias, delta_softplus, reverse)
        written = _volume(out, reverse), borders.numpy()
        for_each(
            lambda *block: kernel.forward(inputs, *block, *written), product(range(items), range(blocks))
        )
        ctx.save_for_backward(u, delta, A, B, C, D, z, delta_bias, borders)
        ctx.delta_softplus, ctx.reverse = delta_softplus, reverse
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        from diffcl.networks.kernels import selective_scan as kernel

        u, delta, A, B, C, D, z, delta_bias, borders = ctx.saved_tensors
        items, channels, length = u.shape
        states = A.shape[1]
        blocks = -(-channels // WIDTH)
        du, ddelta, dz = _empty_like(u), _empty_like(delta), None if z is None else _empty_like(z)
        dA = torch.zeros(items, channels, states, dtype=torch.float64)
        dD, dbias = torch.zeros(2, items, channels, dtype=torch.float64)
        dB, dC = torch.empty(2, blocks, items, length, -(-states // WIDTH) * WIDTH)
        inputs = _kernel_inputs(u, delta, A, B, C, D, z, delta_bias, ctx.delta_softplus, ctx.reverse)
        arriving, to_u, to_delta, to_z = (
            _volume(v, ctx.reverse) for v in (grad, du, ddelta, du if dz is None else dz)
        )
        to = Gradients(to_u, to_delta, dA.numpy(), dB.numpy(), dC.numpy(), dD.numpy(), to_z, dbias.numpy())
        for_each(
            lambda *block: kernel.backward(inputs, *block, borders.numpy(), arriving, to),
            product(range(items), range(blocks)),
        )

        def weights(partial: Tensor, like: Tensor) -> Tensor:
            whole = partial[..., :states].sum(dim=0)
            return (whole.flip(1) if ctx.reverse else whole).mT.to(like.dtype)

        return (
            du,
            ddelta,
            dA.sum(0).to(A.dtype),
            weights(dB, B),
            weights(dC, C),
            None if D is None else dD.sum(0).to(D.dtype),
            dz,
            None if delta_bias is None else dbias.sum(0).to(delta_bias.dtype),
            None,
            None,
            None,
        )


def _kernel_inputs(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    reverse: bool,
) -> Inputs:
    none = torch.zeros(A.shape[0])
    vectors = [
        none if vector is None else vector.detach().float().contiguous() for vector in (A, D, delta_bias)
    ]
    rates, skip, bias = (vector.numpy() for vector in vectors)
    volumes = [_volume(volume, reverse) for volume in (u, delta, B, C, u if z is None else z)]
    values, steps, b, c, gate = volumes
    return Inputs(u.shape[2], values, steps, rates, b, c, skip, gate, bias, delta_softplus, z is not None)


def _volume(tensor: Tensor, reverse: bool) -> Volume:
    item, channel, token = tensor.stride()
    ends = zip(tensor.shape, tensor.stride(), strict=True)
    span = 1 + sum((size - 1) * stride for size, stride in ends) if tensor.numel() else 0
    memory = tensor.detach().as_strided((span,), (1,))
    nothing = memory[:0]
    half = memory.dtype == torch.bfloat16
    floats, halves = (nothing, memory) if half else (memory, nothing)
    start = (tensor.shape[2] - 1) * token if reverse else 0
    return Volume(
        floats.float().numpy(),
        halves.bfloat16().view(torch.uint16).numpy(),
        start,
        item,
        channel,
        -token if reverse else token,
    )


def _empty_like(volume: Tensor) -> Tensor:
    """An empty `(B, D, L)` volume; channels are innermost in memory if they are so in `volume`."""
    items, channels, length = volume.shape
    if volume.stride(1) == 1:
        return volume.new_empty((items, length, channels)).mT
    return volume.new_empty((items, channels, length))

"""The selective scan of Mamba: its definition, and the compiled form that runs on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from diffcl.networks import scan_kernel


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
    if delta_bias is not None:
        delta = delta + delta_bias[:, None]
    if delta_softplus:
        delta = functional.softplus(delta)
    state = u.new_zeros(u.shape[0], *A.shape)
    outputs = [torch.empty(0)] * u.shape[2]
    for at in reversed(range(u.shape[2])) if reverse else range(u.shape[2]):
        step = delta[:, :, at, None]
        state = torch.exp(step * A) * state + step * u[:, :, at, None] * B[:, None, :, at]
        outputs[at] = (state * C[:, None, :, at]).sum(dim=-1)
    y = torch.stack(outputs, dim=-1)
    if D is not None:
        y = y + u * D[:, None]
    return y if z is None else y * functional.silu(z)


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, reverse: bool) -> Tensor:
        ctx.save_for_backward(u, delta, A, B, C)
        ctx.reverse = reverse
        y = torch.empty_like(u)
        for item in range(u.shape[0]):
            for channel in range(u.shape[1]):
                scan_kernel.forward(
                    u.numpy(), delta.numpy(), A.numpy(), B.numpy(), C.numpy(), y.numpy(), item, channel, reverse
                )
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        u, delta, A, B, C = ctx.saved_tensors
        du, ddelta = torch.empty_like(u), torch.empty_like(u)
        da = A.new_zeros(u.shape[0], *A.shape)
        db, dc = torch.zeros_like(B), torch.zeros_like(C)
        arrays = [t.detach().numpy() for t in (u, delta, A, B, C, grad.contiguous(), du, ddelta, da, db, dc)]
        for item in range(u.shape[0]):
            scan_kernel.backward(*arrays, item, ctx.reverse)
        return du, ddelta, da.sum(0), db, dc, None


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
    dtype = u.dtype
    u, delta, A, B, C = (t.float() for t in (u, delta, A, B, C))
    if delta_bias is not None:
        delta = delta + delta_bias[:, None]
    if delta_softplus:
        delta = functional.softplus(delta)
    y: Tensor = _Scan.apply(
        u.contiguous(), delta.contiguous(), A.contiguous(), B.mT.contiguous(), C.mT.contiguous(), reverse
    )
    if D is not None:
        y = y + u * D[:, None]
    if z is not None:
        y = y * functional.silu(z.float())
    return y.to(dtype)

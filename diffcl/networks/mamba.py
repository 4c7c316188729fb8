"""The Mamba block, with the parameters of `mamba_ssm.Mamba`."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from diffcl.networks.selective_scan import selective_scan


class Mamba(nn.Module):
    """A selective state space block over a sequence of tokens.

    Parameters, their names and their initialisation are those of `mamba_ssm.Mamba`, so state dicts move
    unchanged both ways.

    Args:
        d_model: Token width.
        d_state: State size of the scan, for each inner channel.
        d_conv: Taps of the causal convolution before the scan.
        expand: Inner width, in token widths.
        dt_rank: Rank of the step size projection; "auto" is a sixteenth of the token width, rounded up.
        dt_min: Smallest initial step size.
        dt_max: Largest initial step size.
        dt_init: How the step size projection starts.
        dt_scale: Scale of its start.
        dt_init_floor: Lower limit of an initial step size.
        conv_bias: Whether the convolution has a bias.
        bias: Whether the projections in and out have a bias.

    Source:
        Gu and Dao 2023 (Mamba), section 3.4.
    """

    def __init__(
        self,
        d_model: int,
        d_state: int = 16,
        d_conv: int = 4,
        expand: int = 2,
        dt_rank: int | Literal["auto"] = "auto",
        dt_min: float = 0.001,
        dt_max: float = 0.1,
        dt_init: Literal["random", "constant"] = "random",
        dt_scale: float = 1.0,
        dt_init_floor: float = 1e-4,
        conv_bias: bool = True,
        bias: bool = False,
    ) -> None:
        super().__init__()
        inner = expand * d_model
        self.d_state = d_state
        self.dt_rank = math.ceil(d_model / 16) if dt_rank == "auto" else dt_rank
        self.in_proj = nn.Linear(d_model, 2 * inner, bias=bias)
        self.conv1d = nn.Conv1d(inner, inner, d_conv, groups=inner, padding=d_conv - 1, bias=conv_bias)
        self.x_proj = nn.Linear(inner, self.dt_rank + 2 * d_state, bias=False)
        self.dt_proj = nn.Linear(self.dt_rank, inner)
        self.A_log = nn.Parameter(torch.arange(1.0, d_state + 1).log().repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, d_model, bias=bias)

        spread = dt_scale * self.dt_rank**-0.5
        with torch.no_grad():
            if dt_init == "constant":
                self.dt_proj.weight.fill_(spread)
            else:
                self.dt_proj.weight.uniform_(-spread, spread)
            steps = (
                torch.empty(inner).uniform_(math.log(dt_min), math.log(dt_max)).exp().clamp(min=dt_init_floor)
            )
            self.dt_proj.bias.copy_(steps + (-torch.expm1(-steps)).log())  # softplus gives the steps back

    def forward(self, tokens: Tensor, reverse: bool = False) -> Tensor:
        """Tokens `(B, L, d_model)` to the same shape.

        Args:
            tokens: The sequence.
            reverse: Read from the last token to the first, as if the sequence was flipped, and the result too.
        """
        x, z = self._project(tokens)
        out: Tensor = self.out_proj(self._read(x, z, reverse).transpose(-2, -1))
        return out

    def both_ways(self, tokens: Tensor) -> Tensor:
        """The sum of `forward` in both directions, with a bias of out_proj once, for less than twice the work."""
        x, z = self._project(tokens)
        out: Tensor = self.out_proj(
            (self._read(x, z, reverse=False) + self._read(x, z, reverse=True)).transpose(-2, -1)
        )
        return out

    def _project(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens `(B, L, d_model)` to values and gates, `(B, D, L)`."""
        x, z = linear_of_columns(tokens.transpose(-2, -1), self.in_proj.weight, self.in_proj.bias).chunk(
            2, dim=1
        )
        return x, z

    def _read(self, x: Tensor, z: Tensor, reverse: bool) -> Tensor:
        """What stands between the projections: values and gates `(B, D, L)` to the same shape."""
        x = functional.silu(self._convolve(x, reverse))
        dt, b, c = self.x_proj(x.transpose(-2, -1)).split([self.dt_rank, self.d_state, self.d_state], dim=-1)
        return selective_scan(
            x,
            linear_of_columns(dt.transpose(-2, -1), self.dt_proj.weight),
            -torch.exp(self.A_log.float()),
            b.transpose(-2, -1),
            c.transpose(-2, -1),
            self.D.float(),
            z=z,
            delta_bias=self.dt_proj.bias.float(),
            delta_softplus=True,
            reverse=reverse,
        )

    def _convolve(self, x: Tensor, reverse: bool) -> Tensor:
        """Channels `(B, D, L)`, each output seeing only what has been read up to its place."""
        conv = self.conv1d
        if not reverse:
            causal: Tensor = conv(x)[..., : x.shape[-1]]
            return causal
        taps = conv.weight.flip(-1)
        ahead = functional.conv1d(x, taps, conv.bias, padding=conv.padding, groups=conv.groups)
        return ahead[..., conv.kernel_size[0] - 1 :]


def linear_of_columns(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A linear layer for each column of `(B, in, L)`, to `(B, out, L)`, without copies that transpose."""
    weights = weight.expand(x.shape[0], -1, -1)
    return torch.bmm(weights, x) if bias is None else torch.baddbmm(bias[:, None], weights, x)

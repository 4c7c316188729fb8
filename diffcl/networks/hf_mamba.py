"""HF-Mamba: re-weighs the high-frequency detail of a feature map after reading all of it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from diffcl.networks.haar import EVERY, high_band_count
from diffcl.networks.high_bands import high_bands, reweighted
from diffcl.networks.mamba import Mamba


class HFMamba(nn.Module):
    """The high-frequency Mamba module of Diff-CL, for a skip connection; a new one is the identity.

    The high Haar bands become tokens, one for each voxel of the half-size grid. A Mamba block reads
    them in both directions; from what it read, an attention A re-weighs the bands to `H (1 + A)`. Written as
    `F + inverse(0, H A)`, the transform of F never goes forth and back, so A = 0 leaves F as it is, bit for bit.

    Both directions share one block [ours]: half the parameters, and detail has no preferred direction. The transform
    halves the axes that the V-Net halves at this level [ours]: between slices that are thick there is no detail.

    Args:
        channels: Channels C of the feature map.
        d_model: Token width.
        d_state: State size of the selective scan.
        strides: 2 along each axis that the transform halves, else 1.

    Source:
        Guo et al. 2025 (Diff-CL), figure 3.
    """

    def __init__(
        self, channels: int, d_model: int = 16, d_state: int = 16, strides: Sequence[int] = EVERY
    ) -> None:
        super().__init__()
        self.strides = tuple(strides)
        width = high_band_count(strides) * channels
        self.embed = nn.Linear(width, d_model)
        self.norm = nn.LayerNorm(d_model)
        self.mamba = Mamba(d_model, d_state)
        self.attention = nn.Linear(d_model, width)
        nn.init.zeros_(self.attention.weight)
        nn.init.zeros_(self.attention.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Feature map `(B, C, X, Y, Z)`, any sizes of 1 or more, to the same shape."""
        bands = high_bands(features, self.strides)
        tokens = self.norm(self.embed(bands))
        tokens = tokens + self.mamba.both_ways(tokens)
        return reweighted(features, bands, self.attention(tokens), self.strides)

"""HF-Mamba: re-weighs the high-frequency detail of a feature map after reading all of it."""

from __future__ import annotations

from torch import Tensor, nn

from diffcl.networks.mamba import Mamba, linear_of_columns
from diffcl.networks.wavelet import BANDS, haar_forward, haar_inverse


class HFMamba(nn.Module):
    """The high-frequency Mamba module of Diff-CL, for a skip connection; a new one is the identity.

    The seven high Haar bands become tokens, one for each voxel of the half-size grid. A Mamba block reads
    them in both directions; from what it read, an attention A re-weighs the bands to `H (1 + A)`. Written as
    `F + inverse(0, H A)`, the transform of F never goes forth and back, so A = 0 leaves F as it is, bit for bit.

    Both directions share one block [ours]: half the parameters, and detail has no preferred direction.

    Args:
        channels: Channels C of the feature map.
        d_model: Token width.
        d_state: State size of the selective scan.

    Source:
        Guo et al. 2025 (Diff-CL), figure 3.
    """

    def __init__(self, channels: int, d_model: int = 16, d_state: int = 16) -> None:
        super().__init__()
        self.embed = nn.Linear(BANDS * channels, d_model)
        self.norm = nn.LayerNorm(d_model)
        self.mamba = Mamba(d_model, d_state)
        self.attention = nn.Linear(d_model, BANDS * channels)
        nn.init.zeros_(self.attention.weight)
        nn.init.zeros_(self.attention.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Feature map `(B, C, X, Y, Z)`, any sizes of 1 or more, to the same shape."""
        _, high = haar_forward(features)
        bands = high.flatten(1, 2).flatten(2)
        tokens = self.norm(linear_of_columns(bands, self.embed.weight, self.embed.bias).transpose(-2, -1))
        tokens = tokens + self.mamba.both_ways(tokens)
        weights = linear_of_columns(tokens.transpose(-2, -1), self.attention.weight, self.attention.bias)
        detail = haar_inverse(None, high * weights.view(high.shape), features.shape[2:])
        return features + detail.to(features.dtype)

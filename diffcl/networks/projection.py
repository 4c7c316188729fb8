"""The projection head: voxel features in which contrastive learning compares."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class ProjectionHead(nn.Module):
    """Two layers that take feature vectors `(N, channels)` to unit vectors `(N, width)`."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(channels, channels), nn.LeakyReLU(0.01), nn.Linear(channels, width)
        )

    def forward(self, vectors: Tensor) -> Tensor:
        """Project and normalise."""
        return functional.normalize(self.layers(vectors), dim=1)

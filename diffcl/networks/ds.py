"""DS, the diffusion segmentation network: a V-Net over image and noisy label map, told the time."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from diffcl.networks.convolution import Convolution
from diffcl.networks.cs import hf_mamba_modules
from diffcl.networks.projection import ProjectionHead
from diffcl.networks.vnet import Resize, VNet
from diffcl.recipe import Recipe

LONGEST = 10_000
"""Steps, over 2 pi, of about the slowest wave by which a network is told the time."""


class DiffusionSegmenter(nn.Module):
    """DS of a recipe. It predicts the class logits of the clean label map Y_0, not the noise.

    Attributes:
        time: Embeds the diffusion step; None where DS stands for a second CS and sees the image alone.
        refine: From the features of a coarser grid to those of every voxel; nothing where it is the same grid.
        projection: The head that makes `f~` of voxel features. No loss of the method reaches it: it stays
            the random projection it starts as, which keeps the similarity of the features it is given.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        shape = recipe.ds
        self._width = shape.time_features
        self._coarse = shape.coarse
        self.time = _time_embedding(shape.time_features) if shape.diffusion else None
        features = shape.filters[0]
        self.refine: nn.Module = nn.Identity()
        if shape.diffusion:
            channels = (recipe.channels + recipe.classes) * math.prod(shape.coarse)
            self.vnet = VNet(channels, shape, time_features=shape.time_features)
        else:
            self.vnet = VNet(recipe.channels, shape, skips=hf_mamba_modules(recipe.cs))
        if max(shape.coarse) > 1:
            features = recipe.cs.filters[0]
            finer = nn.ConvTranspose3d(
                shape.filters[0], features, shape.coarse, stride=shape.coarse, bias=False
            )
            self.refine = Resize(finer, features)
        self.classifier = Convolution(features, recipe.classes, kernel_size=1)
        self.projection = ProjectionHead(features, shape.projection)

    def forward(self, image: Tensor, noisy: Tensor, time: Tensor) -> Tensor:
        """Class logits of Y_0.

        Args:
            image: `(B, C, X, Y, Z)`, C its sequences.
            noisy: The noisy label map Y_t `(B, K, X, Y, Z)`.
            time: Diffusion steps `(B,)`, int64, 0..T-1.

        Returns:
            `(B, K, X, Y, Z)`.
        """
        return self.both(image, noisy, time)[1]

    def both(self, image: Tensor, noisy: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """Voxel features and class logits."""
        features = self.features(image, noisy, time)
        return features, self.classifier(features)

    def features(self, image: Tensor, noisy: Tensor, time: Tensor) -> Tensor:
        """Voxel features `(B, C, X, Y, Z)`, before the classifier."""
        if self.time is None:
            alone: Tensor = self.vnet(image)
            return alone
        embedded = self.time(waves(time, self._width))
        seen = torch.cat([image, noisy.to(image.dtype)], dim=1)
        if max(self._coarse) > 1:
            seen = blocks_to_channels(seen, self._coarse)
        features: Tensor = self.refine(self.vnet(seen, embedded))
        return features


def blocks_to_channels(volume: Tensor, size: tuple[int, int, int]) -> Tensor:
    """Voxels of blocks of a size (a, b, c) become channels: `(B, C, X, Y, Z)` to `(B, C a b c, X/a, Y/b, Z/c)`.

    >>> blocks_to_channels(torch.arange(16.0).view(1, 1, 2, 2, 4), (2, 2, 2))[0, :, 0, 0, 1].tolist()
    [2.0, 3.0, 6.0, 7.0, 10.0, 11.0, 14.0, 15.0]
    """
    items, channels, x, y, z = volume.shape
    a, b, c = size
    blocks = volume.view(items, channels, x // a, a, y // b, b, z // c, c)
    return blocks.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(items, channels * a * b * c, x // a, y // b, z // c)


def waves(time: Tensor, width: int) -> Tensor:
    """Diffusion steps `(B,)` as cosines and sines of ever slower waves `(B, width)`, float32.

    Source:
        Ho et al. 2020 (DDPM), after Vaswani et al. 2017.
    """
    half = width // 2
    falling = -math.log(LONGEST) * torch.arange(half, dtype=torch.float32, device=time.device)
    angles = time[:, None].float() * torch.exp(falling / half)[None]
    told = torch.cat([angles.cos(), angles.sin()], dim=-1)
    return functional.pad(told, (0, 1)) if width % 2 else told


def _time_embedding(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())

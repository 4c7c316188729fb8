"""DS, the diffusion segmentation network: a V-Net over image and noisy label map, told the time."""

from __future__ import annotations

import torch
from monai.networks.nets.diffusion_model_unet import get_timestep_embedding
from torch import Tensor, nn

from diffcl.networks.cs import hf_mamba_modules
from diffcl.networks.projection import ProjectionHead
from diffcl.networks.vnet import VNet
from diffcl.recipe import Recipe


class DiffusionSegmenter(nn.Module):
    """DS of a recipe. It predicts the class logits of the clean label map Y_0, not the noise.

    Attributes:
        projection: The head that makes `f~` of voxel features. No loss of the method reaches it: it stays
            the random projection it starts as, which keeps the similarity of the features it is given.
    """

    def __init__(self, recipe: Recipe, in_channels: int = 1) -> None:
        super().__init__()
        shape = recipe.ds
        self._width = shape.time_features
        self.time = None
        if shape.diffusion:
            self.time = nn.Sequential(
                nn.Linear(shape.time_features, shape.time_features),
                nn.SiLU(),
                nn.Linear(shape.time_features, shape.time_features),
                nn.SiLU(),
            )
            channels = in_channels + recipe.classes
            self.vnet = VNet(channels, shape.filters, shape.blocks, time_features=shape.time_features)
        else:
            self.vnet = VNet(in_channels, shape.filters, shape.blocks, skips=hf_mamba_modules(recipe.cs))
        self.classifier = nn.Conv3d(shape.filters[0], recipe.classes, kernel_size=1)
        self.projection = ProjectionHead(shape.filters[0], shape.projection)

    def forward(self, image: Tensor, noisy: Tensor, time: Tensor) -> Tensor:
        """Class logits of Y_0.

        Args:
            image: `(B, 1, X, Y, Z)`.
            noisy: The noisy label map Y_t `(B, K, X, Y, Z)`.
            time: Diffusion steps `(B,)`, int64, 0..T-1.

        Returns:
            `(B, K, X, Y, Z)`.
        """
        logits: Tensor = self.classifier(self.features(image, noisy, time))
        return logits

    def features(self, image: Tensor, noisy: Tensor, time: Tensor) -> Tensor:
        """Voxel features `(B, C, X, Y, Z)`, before the classifier."""
        if self.time is None:
            alone: Tensor = self.vnet(image)
            return alone
        embedded = self.time(get_timestep_embedding(time, self._width))
        features: Tensor = self.vnet(torch.cat([image, noisy.to(image.dtype)], dim=1), embedded)
        return features

"""CS, the convolution segmentation network: a V-Net with HF-Mamba modules."""

from __future__ import annotations

from torch import Tensor, nn

from diffcl.networks.convolution import Convolution
from diffcl.networks.hf_mamba import HFMamba
from diffcl.networks.projection import ProjectionHead
from diffcl.networks.vnet import VNet
from diffcl.recipe import CsShape, Recipe


class ConvolutionSegmenter(nn.Module):
    """CS of a recipe.

    Attributes:
        projection: The head that makes `f^` of voxel features.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        shape = recipe.cs
        self.vnet = VNet(recipe.channels, shape, skips=hf_mamba_modules(shape))
        self.classifier = Convolution(shape.filters[0], recipe.classes, kernel_size=1)
        self.projection = ProjectionHead(shape.filters[0], shape.projection)

    def forward(self, image: Tensor) -> Tensor:
        """Image `(B, C, X, Y, Z)`, C its sequences, to class logits `(B, K, X, Y, Z)`."""
        return self.both(image)[1]

    def both(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Voxel features and class logits."""
        features = self.features(image)
        return features, self.classifier(features)

    def features(self, image: Tensor) -> Tensor:
        """Voxel features `(B, C, X, Y, Z)`, before the classifier."""
        features: Tensor = self.vnet(image)
        return features


def hf_mamba_modules(shape: CsShape) -> dict[int, nn.Module]:
    """New HF-Mamba modules of the skip levels that have one; each halves what the V-Net halves there."""
    return {
        level: HFMamba(
            shape.filters[level],
            d_model=shape.hf_mamba_width,
            d_state=shape.hf_mamba_state,
            strides=shape.level_strides[level],
        )
        for level in shape.hf_mamba_levels
    }

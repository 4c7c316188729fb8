"""The sections on the networks: shapes of CS and DS, and the diffusion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from diffcl.recipe.section import Depth, Kernel, Level, Section, Stride, Width

FEWEST_HALVED = 4
"""Voxels along an axis from which a wavelet that halves it has something to tell."""


def holds_wavelet(crop: Sequence[int], strides: Sequence[Sequence[int]], level: int) -> bool:
    """Whether a crop is large enough for HF-Mamba on a level of a V-Net, along every axis that it halves there.

    >>> holds_wavelet((64, 64, 8), ((2, 2, 2), (2, 2, 2)), 0), holds_wavelet((64, 64, 4), ((2, 2, 2), (2, 2, 2)), 1)
    (True, False)
    >>> holds_wavelet((64, 64, 4), ((2, 2, 1), (2, 2, 1)), 1)  # slices that are not halved
    True
    """
    passed = [math.prod(axis) for axis in zip((1, 1, 1), *strides[:level], strict=True)]
    sides = zip(crop, passed, strides[level], strict=True)
    return all(step == 1 or side // before >= FEWEST_HALVED for side, before, step in sides)


class VNetShape(Section):
    """Shape of a V-Net.

    Attributes:
        filters: Channels of each level, finest first; each further level has a coarser grid.
        blocks: Convolutions of each level of the encoder and the decoder.
        strides: From each level to the next: 2 halves an axis and 1 leaves it as it is, as slices that are thick or
            few should be left. By default every level halves every axis.
        kernels: Of the convolutions of each level; 1 along an axis reads each slice by itself. By default 3 along
            every axis.
        projection: Channels of the projection head's voxel features.
    """

    filters: Annotated[tuple[Width, ...], Field(min_length=2, max_length=8)] = (16, 32, 64, 128)
    blocks: Annotated[tuple[Depth, ...], Field(min_length=2, max_length=8)] = (1, 2, 2, 2)
    strides: Annotated[tuple[Stride, ...], Field(max_length=7)] = ()
    kernels: Annotated[tuple[Kernel, ...], Field(max_length=8)] = ()
    projection: Width = 16

    @model_validator(mode="after")
    def _one_entry_a_level(self) -> VNetShape:
        if len(self.blocks) != len(self.filters) or len(self.filters) < 2:
            raise ValueError("filters and blocks need one entry a level, at least two levels")
        if self.strides and len(self.strides) != len(self.filters) - 1:
            raise ValueError("strides need one entry from each level to the next")
        if (1, 1, 1) in self.strides:
            raise ValueError("strides of 1 along every axis lead to no coarser level")
        if self.kernels and len(self.kernels) != len(self.filters):
            raise ValueError("kernels need one entry a level")
        return self

    @property
    def level_strides(self) -> tuple[Stride, ...]:
        """From each level to the next."""
        return self.strides or ((2, 2, 2),) * (len(self.filters) - 1)

    @property
    def level_kernels(self) -> tuple[Kernel, ...]:
        """Of each level."""
        return self.kernels or ((3, 3, 3),) * len(self.filters)

    @property
    def grains(self) -> tuple[int, int, int]:
        """What the sides of a volume must be divisible by along each axis."""
        x, y, z = (math.prod(steps) for steps in zip(*self.level_strides, strict=True))
        return x, y, z


class CsShape(VNetShape):
    """CS, the convolution segmentation network: a V-Net with HF-Mamba on some of its skip connections.

    Attributes:
        hf_mamba_levels: Skip levels with a module; 0 is the finest. Empty switches HF-Mamba off.
        hf_mamba_width: Token width of the module.
        hf_mamba_state: State size of its selective scan.
    """

    hf_mamba_levels: Annotated[tuple[Level, ...], Field(max_length=7)] = (0, 1)
    hf_mamba_width: Width = 16
    hf_mamba_state: Annotated[int, Field(ge=1, le=256)] = 16

    @model_validator(mode="after")
    def _levels_exist(self) -> CsShape:
        for level in self.hf_mamba_levels:
            if level > len(self.filters) - 2:
                raise ValueError(f"hf_mamba_levels: level {level} has no skip connection")
        return self


class DsShape(VNetShape):
    """DS, the diffusion segmentation network: a V-Net over (image, noisy label map), told the time.

    Attributes:
        time_features: Width of the embedding of the diffusion step.
        coarsening: 2 lets the V-Net of DS work on voxels of twice the size, at an eighth of the cost. What it
            adds to CS, a sense of shape, needs no fine grid. Three numbers are along each axis.
        diffusion: Off, for comparison, DS is a second CS, which sees the image alone.
    """

    time_features: Width = 64
    coarsening: Literal[1, 2] | Stride = 1
    diffusion: bool = True

    @model_validator(mode="after")
    def _alike(self) -> DsShape:
        if not self.diffusion and max(self.coarse) > 1:
            raise ValueError("coarsening has no meaning without diffusion")
        return self

    @property
    def coarse(self) -> tuple[int, int, int]:
        """The coarsening along each axis."""
        return self.coarsening if isinstance(self.coarsening, tuple) else (self.coarsening,) * 3


class Diffusion(Section):
    """The diffusion over label maps and its sampling.

    Attributes:
        steps: T, the number of diffusion steps.
        beta_start: First beta of the linear schedule.
        beta_end: Last beta of the linear schedule.
        sampling_steps: DDIM steps of a prediction, at most `steps`; each asks DS about every window once.
        late: Training draws step t with a density proportional to t^late. Noise that is independent from voxel
            to voxel hides a smooth label map only at late steps; drawn evenly (0), DS would rarely have to
            look at the image.
        completion: Share of the crops in which DS sees a part of the label map without noise while it learns, as if
            somebody had drawn it, and so learns to find the rest of a label that is begun.
    """

    steps: Annotated[int, Field(ge=2, le=10_000)] = 1000
    beta_start: Annotated[float, Field(gt=0, lt=1)] = 1e-4
    beta_end: Annotated[float, Field(gt=0, lt=1)] = 2e-2
    sampling_steps: Annotated[int, Field(ge=1, le=100)] = 3
    late: Annotated[float, Field(ge=0, le=100)] = 2.0
    completion: Annotated[float, Field(ge=0, le=1)] = 0.0

    @model_validator(mode="after")
    def _possible(self) -> Diffusion:
        if self.sampling_steps > self.steps:
            raise ValueError("sampling_steps cannot exceed steps")
        return self

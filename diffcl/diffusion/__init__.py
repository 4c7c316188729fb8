"""Diffusion over label maps: schedule, noising, DDIM."""

from diffcl.diffusion.label_diffusion import LabelDiffusion

__all__ = ["LabelDiffusion"]

"""Parts of the method that a recipe asks for and its crops or scans cannot carry."""

from __future__ import annotations

from diffcl.errors import RecipeError
from diffcl.planning.shapes import Triple
from diffcl.planning.size import planned_coarsening
from diffcl.recipe import Recipe
from diffcl.recipe.networks import FEWEST_HALVED, holds_wavelet


def check_wavelets(recipe: Recipe) -> None:
    """Refuse HF-Mamba where its wavelet would halve an axis of which a crop has next to nothing.

    Raises:
        RecipeError: Naming the level.
    """
    for level in recipe.cs.hf_mamba_levels:
        if not holds_wavelet(recipe.grid.crop, recipe.cs.level_strides, level):
            raise RecipeError(
                recipe.name,
                f"cs.hf_mamba_levels: on level {level} a crop has fewer than {FEWEST_HALVED} voxels along an axis that "
                "HF-Mamba halves",
                "Leave the level out, or do not halve that axis (cs.strides)",
            )


def check_coarsening(recipe: Recipe, spacing: Triple, thin: float) -> None:
    """Refuse a DS whose voxels are longer than the thinnest class is thick.

    Args:
        recipe: Which gives the coarsening.
        spacing: Of the grid that CS sees, mm.
        thin: Thickness of that class, mm.

    Raises:
        RecipeError: With what would do.
    """
    allowed = planned_coarsening(spacing, thin, recipe.ds.coarse)
    if allowed != recipe.ds.coarse:
        sizes = " x ".join(f"{one * two:.3g}" for one, two in zip(spacing, recipe.ds.coarse, strict=True))
        raise RecipeError(
            recipe.name,
            f"ds.coarsening gives DS voxels of {sizes} mm, too long for the thinnest class, about {thin:.1f} mm thick",
            f"Take {list(allowed)}, or leave it to the plan",
        )

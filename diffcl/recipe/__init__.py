"""The recipe of one task: everything that decides what is trained and how, and nothing else.

A recipe is a TOML file; every field has a default but the name and the labels. It is checked when it is
read, printed with a run, and stored beside the weights, so a model can always say how it was made.
"""

from diffcl.recipe.files import load_recipe, shipped_recipes
from diffcl.recipe.losses import Contrastive, Losses
from diffcl.recipe.networks import CsShape, Diffusion, DsShape, VNetShape
from diffcl.recipe.preparation import Grid, Intensity
from diffcl.recipe.recipe import Card, Inference, Recipe, parse_recipe
from diffcl.recipe.section import Section, first_fault
from diffcl.recipe.sequences import ImageSequence
from diffcl.recipe.training import Augmentation, FineTuning, Training

__all__ = [
    "Augmentation",
    "Card",
    "Contrastive",
    "CsShape",
    "Diffusion",
    "DsShape",
    "FineTuning",
    "Grid",
    "ImageSequence",
    "Inference",
    "Intensity",
    "Losses",
    "Recipe",
    "Section",
    "Training",
    "VNetShape",
    "first_fault",
    "load_recipe",
    "parse_recipe",
    "shipped_recipes",
]

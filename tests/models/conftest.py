"""Small untrained ensembles, and scans on awkward grids."""

from untrained import folder, model, recipe, scan

__all__ = ["folder", "model", "recipe", "scan"]

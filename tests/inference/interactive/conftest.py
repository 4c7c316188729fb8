"""Small untrained ensembles, and scans on awkward grids, and a store and a folder as a server finds them."""

from served import store, studies
from untrained import folder, model, recipe, scan

__all__ = ["folder", "model", "recipe", "scan", "store", "studies"]

"""A small task that trains in seconds, and a store with a model."""

from served import store
from trainable import cases, data, recipe

__all__ = ["cases", "data", "recipe", "store"]

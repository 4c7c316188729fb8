"""A small task that trains in seconds."""

from trainable import cases, data, recipe

__all__ = ["cases", "data", "recipe"]

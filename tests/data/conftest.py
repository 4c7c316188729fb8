"""A small task that trains in seconds."""

from trainable import recipe

__all__ = ["recipe"]

"""Recipes of the made-up organ of `diffcl.phantom` that name its classes, and networks that train in seconds."""

from __future__ import annotations

TUBE = """
name = "tube"
[[labels]]
value = 1
name = "front"
[[labels]]
value = 2
name = "back"
"""

TINY_NETWORKS = """
[cs]
filters = [4, 8]
blocks = [1, 1]
hf_mamba_levels = []
[ds]
filters = [4, 8]
blocks = [1, 1]
"""

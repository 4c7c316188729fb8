"""States of networks and of trainings, compared."""

from __future__ import annotations

import torch


def same(one: object, other: object) -> None:
    """Two states are equal to the bit."""
    if isinstance(one, torch.Tensor):
        assert isinstance(other, torch.Tensor)
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert isinstance(other, dict)
        assert list(one) == list(other)
        for key in one:
            same(one[key], other[key])
    elif isinstance(one, list):
        assert isinstance(other, list)
        for mine, yours in zip(one, other, strict=True):
            same(mine, yours)
    else:
        assert one == other

"""The noise of a window is that part of the noise of the whole scan."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from diffcl.geometry import Box
from diffcl.inference import noise
from diffcl.inference.noise import Noise
from diffcl.inference.sliding import layout

WINDOW = (4, 5, 6)


@pytest.mark.parametrize(
    "size", [(3, 5, 7, 9), (2, 16, 16, 16), (3, 11, 13, 17), (1, 4, 5, 6), (2, 33, 5, 6)]
)
@pytest.mark.parametrize("order", ["as they lie", "backwards", "every third"])
def test_noise_is_what_is_drawn_at_once(
    size: Sequence[int], order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noise, "PART", 48)
    expected = torch.randn(*size, generator=torch.Generator().manual_seed(7)).half().float()
    windows: list[Box] = layout(size[1:], WINDOW, 0.5)
    windows = {"as they lie": windows, "backwards": windows[::-1], "every third": windows[::3]}[order]
    drawn = Noise(size, 7, WINDOW[0])
    for where in windows:
        assert torch.equal(drawn.crop(where), expected[(slice(None), *where)])


def test_only_the_part_that_is_asked_of_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "PART", 48)
    expected = torch.randn(2, 16, 12, 10, generator=torch.Generator().manual_seed(7)).half().float()
    part = (slice(2, 16), slice(3, 9), slice(4, 10))
    drawn = Noise((2, 16, 12, 10), 7, 4, part)
    for where in layout((12, 6, 6), (4, 5, 6), 0.5):
        there = tuple(slice(a.start + b.start, a.stop + b.start) for a, b in zip(where, part, strict=True))
        assert torch.equal(drawn.crop(there), expected[(slice(None), *there)])  # type: ignore[arg-type]
    held = drawn._held  # noqa: SLF001
    assert held is not None
    assert held.shape == (2, 4, 6, 6)


def test_only_the_planes_of_a_window_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "PART", 480)
    drawn, made = Noise((2, 40, 5, 6), 7, 4), []
    torch_randn = torch.randn
    monkeypatch.setattr(torch, "randn", lambda count, **how: made.append(count) or torch_randn(count, **how))
    for start in range(0, 37, 2):
        drawn.crop((slice(start, start + 4), slice(0, 5), slice(0, 6)))
    assert max(made) <= 480
    assert sum(made) < 8 * 2 * 40 * 30
    held = drawn._held  # noqa: SLF001
    assert held is not None
    assert held.shape == (2, 4, 5, 6)

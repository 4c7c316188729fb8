"""The journal of a run as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from diffcl.files import replace_file
from diffcl.training.journal import read_journal

_TERMS = {
    "L_c_s": "tab:blue",
    "L_c_p": "tab:cyan",
    "L_cl": "tab:green",
    "L_d_s": "tab:red",
    "L_d_p": "tab:orange",
}


def draw_curves(journal: Path, picture: Path) -> None:
    """Draw every loss term, smoothed, and the validation Dice over the steps as a PNG."""
    entries = read_journal(journal)
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for term, color in _TERMS.items():
        points = [(e["step"], e[term]) for e in entries if e.get(term) is not None]
        if any(value != 0 for _, value in points):
            steps, values = np.array(points).T
            left.plot(steps, values, color=color, alpha=0.15, linewidth=0.5)
            left.plot(steps, _smooth(values), color=color, label=term, linewidth=1.5)
    left.set(xlabel="step", ylabel="loss", ylim=(0, None))
    if left.lines:
        left.legend(frameon=False)
    scores = [(e["step"], e["validation"]["dice"], e["validation"]["dice_worst"])
              for e in entries if "validation" in e]  # fmt: skip
    if scores:
        steps, mean, worst = np.array(scores).T
        right.plot(steps, mean, "o-", color="black", label="mean")
        right.plot(steps, worst, "o--", color="grey", label="worst scan")
        right.legend(frameon=False)
    right.set(xlabel="step", ylabel="validation Dice", ylim=(0, 1))
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    with replace_file(picture) as temporary:
        figure.savefig(temporary, dpi=110)


def _smooth(values: NDArray[Any]) -> NDArray[Any]:
    """Running mean over a twentieth of the curve, shorter at both ends."""
    width = max(1, len(values) // 20)
    kernel = np.ones(width)
    weight = np.convolve(np.ones(len(values)), kernel, mode="same")
    smoothed: NDArray[Any] = np.convolve(values, kernel, mode="same") / weight
    return smoothed

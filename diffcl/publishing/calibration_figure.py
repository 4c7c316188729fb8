"""How far the doubt and the probabilities of a model can be believed, as a picture for its card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from diffcl.evaluation.scores import Scores
from diffcl.files import replace_file

_COLOURS = {"ensemble": "tab:blue", "cs": "tab:grey", "ds": "tab:orange"}


def draw_doubt(scores: Mapping[str, Scores], title: str, picture: Path) -> None:
    """Draw the doubt of every validation scan over what was wrong, and how often probabilities are right.

    Args:
        scores: Of the `ensemble`, and of the networks alone.
        title: Which model it is.
        picture: PNG file.

    Raises:
        OutputError: If it cannot be written.
    """
    figure = Figure(figsize=(9, 4), layout="constrained")
    figure.suptitle(title)
    left, right = figure.subplots(1, 2)
    cases = scores["ensemble"].cases
    wrong, doubts = [1 - case.dice for case in cases], [case.doubt or 0.0 for case in cases]
    end = 1.05 * max(*wrong, *doubts, 0.01)
    left.plot([0, end], [0, end], "--", color="lightgrey")
    left.plot(wrong, doubts, "o", color=_COLOURS["ensemble"], alpha=0.6)
    left.set(xlim=(0, end), ylim=(0, end), xlabel="1 - Dice of a validation scan", ylabel="its doubt")
    right.plot([0, 1], [0, 1], "--", color="lightgrey")
    for network, colour in _COLOURS.items():
        reliability = scores[network].reliability if network in scores else None
        if reliability is not None:
            name = network if network == "ensemble" else network.upper()
            right.plot(*reliability.curve, "o-", markersize=3, color=colour, label=name)
    right.set(
        xlim=(0, 1), ylim=(0, 1), xlabel="probability of the chosen class", ylabel="share that was right"
    )
    if len(right.lines) > 1:
        right.legend(frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    with replace_file(picture) as temporary:
        figure.savefig(temporary, dpi=110)

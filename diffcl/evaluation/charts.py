"""Charts of an annotation project as SVG, in colours for a light or a dark page. The numbers stand beside them."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from diffcl.evaluation.forecast import Point, Range

SIZE: Final = (6.4, 3.0)
"""Inches."""

MARGINS: Final = {"left": 0.11, "right": 0.985, "bottom": 0.17, "top": 0.86, "wspace": 0.3}
"""Margins of the panels as shares of a chart: room for the ticks, for words below and beside, and for a legend."""

PLOT_POINTS: Final = 72 * SIZE[0] * (MARGINS["right"] - MARGINS["left"])
"""Width of a single panel in points."""

FEW: Final = 20
"""Up to so many labels of a version are drawn one by one; of more, the tenths and the quarters."""

MOST_NAMED: Final = 5
"""People with a colour of their own where there are more people than colours."""

STAND_INS: Final = range(0x2800, 0x2900)
"""Braille patterns: 256 signs that matplotlib's own font has and names have not."""

DRAWING: Final = Lock()
"""matplotlib's settings belong to the whole process."""


@dataclass(frozen=True)
class Theme:
    """Colours.

    Attributes:
        ink: Of text and axes.
        faint: Of lines behind the data.
        series: Of the data, told apart also by people who see no red or green.
    """

    ink: str
    faint: str
    series: tuple[str, ...]


THEMES: Final[Mapping[str, Theme]] = {
    "light": Theme("#1c2430", "#d3d9e2", ("#0b62a8", "#c2570c", "#6b4fa0", "#00796b", "#8d5a00", "#5b6777")),
    "dark": Theme("#e8ecf2", "#3a4554", ("#6cb6f5", "#f2a65e", "#bda4f0", "#57cdbb", "#e3c04f", "#aab6c6")),
}
"""The colours of a light and of a dark page, by the names that CSS has for these."""


def labels_per_day(days: Mapping[str, Mapping[str, int]], theme: Theme) -> str:
    """Bars of the labels of each day, a colour for each person.

    Args:
        days: How many labels each person submitted on each day; see `diffcl.studies.overview.Overview.per_day`.
        theme: Colours.
    """
    total = sum((Counter(day) for day in days.values()), Counter[str]())
    shown = [
        name
        for name, _ in total.most_common(len(theme.series) if len(total) <= len(theme.series) else MOST_NAMED)
    ]
    groups = {_short(name or "unknown"): [name] for name in sorted(shown)}
    rest = [name for name in total if name not in shown]
    if rest:
        groups[f"{len(rest)} others"] = rest
    order = sorted(days)
    width = 0.8 * PLOT_POINTS / max(len(order), 4)

    def draw(axes: Axes) -> None:
        below, handles = np.zeros(len(order)), []
        for (label, names), color in zip(groups.items(), theme.series, strict=False):
            heights = np.array([sum(days[day].get(name, 0) for name in names) for day in order])
            axes.vlines(np.arange(len(order)), below, below + heights, color, linewidth=width)
            handles.append(Patch(color=color, label=label))
            below += heights
        axes.set_xlim(-0.6, len(order) - 0.4)
        axes.set_ylim(0, 1.05 * below.max())
        step = max(1, len(order) // 6)
        axes.set_xticks(range(0, len(order), step), [day[5:] for day in order[::step]])
        axes.set_ylabel("labels")
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        _legend(axes, theme, handles)

    return _svg(draw, theme)


def proposals(groups: Mapping[str, Sequence[float]], theme: Theme) -> str:
    """The Dice of what each version proposed with what people made of it: each label, or their tenths and quarters.

    Args:
        groups: Dice, 0..1, by version, oldest first.
        theme: Colours.
    """

    def draw(axes: Axes) -> None:
        many = {place: dice for place, dice in enumerate(groups.values()) if len(dice) > FEW}
        ends = np.array([np.percentile(dice, (10, 25, 75, 90)) for dice in many.values()]).reshape(-1, 4).T
        axes.vlines(list(many), ends[0], ends[3], theme.series[0], linewidth=1)
        axes.vlines(list(many), ends[1], ends[2], theme.series[0], linewidth=5)
        few = [(place, dice) for place, dice in enumerate(groups.values()) if place not in many]
        spread = [place + step for place, dice in few for step in _spread(len(dice))]
        shown = [value for _, dice in few for value in dice]
        axes.plot(spread, shown, "o", color=theme.series[0], alpha=0.8, markersize=6, mew=0)
        places, medians = np.arange(len(groups)), [np.median(dice) for dice in groups.values()]
        axes.hlines(medians, places - 0.35, places + 0.35, theme.series[1], linewidth=2.5)
        step = max(1, len(groups) // 8)
        axes.set_xticks(range(0, len(groups), step), [_short(name) for name in list(groups)[::step]])
        axes.set_xlabel("version that proposed")
        axes.set_ylabel("Dice, proposal and label")

    return _svg(draw, theme)


def versions(dice: Mapping[str, tuple[float, float]], theme: Theme) -> str:
    """Mean Dice of each version on the validation scans, with the margin within which it is known.

    Args:
        dice: Mean and margin, 0..1, by version, oldest first.
        theme: Colours.
    """

    def draw(axes: Axes) -> None:
        places = np.arange(len(dice))
        means, margins = np.array(list(dice.values())).T
        axes.errorbar(
            places, means, margins, fmt="o-", color=theme.series[0], ecolor=theme.series[0], capsize=4
        )
        step = max(1, len(dice) // 10)
        axes.set_xticks(places[::step], [_short(name) for name in list(dice)[::step]])
        axes.set_xlabel("version")
        axes.set_ylabel("validation Dice")

    return _svg(draw, theme)


def learning_curve(
    points: Sequence[Point], labels: Sequence[int], ranges: Sequence[Range], theme: Theme
) -> str:
    """What was measured over the number of labels, and the forecast with its range.

    Args:
        points: What was measured.
        labels: Numbers of labels.
        ranges: The forecast for each.
        theme: Colours.
    """

    def draw(axes: Axes) -> None:
        low, middle, high = (
            np.array([getattr(one, end) for one in ranges]) for end in ("low", "middle", "high")
        )
        axes.fill_between(labels, low, high, color=theme.series[0], alpha=0.25, linewidth=0, label="8 of 10")
        axes.plot(labels, middle, "--", color=theme.series[0], label="forecast")
        x, y = zip(*((point.labels, point.dice) for point in points), strict=True)
        axes.plot(x, y, "o", color=theme.series[1], label="measured")
        axes.set_xlabel("labels that teach")
        axes.set_ylabel("validation Dice")
        _legend(axes, theme)

    return _svg(draw, theme)


def training(
    losses: Mapping[str, Sequence[tuple[int, float]]], validation: Sequence[tuple[int, float]], theme: Theme
) -> str:
    """Losses on the left and the validation Dice on the right, over the steps of a training."""

    def draw_losses(axes: Axes) -> None:
        for place, (name, curve) in enumerate(losses.items()):
            axes.plot(
                *zip(*curve, strict=True),
                color=theme.series[place],
                label=name.replace("L_c", "CS").replace("L_d", "DS"),
            )
        axes.set_xlabel("step")
        axes.set_ylabel("loss")
        if losses:
            _legend(axes, theme)

    def draw_validation(axes: Axes) -> None:
        if validation:
            axes.plot(*zip(*validation, strict=True), "o-", color=theme.series[0])
        else:
            axes.set(xticks=[], yticks=[])
            axes.text(0.5, 0.5, "not validated", color=theme.ink, ha="center", va="center")
        axes.set_xlabel("step")
        axes.set_ylabel("validation Dice")

    return _svg((draw_losses, draw_validation), theme)


def _svg(draw: Any, theme: Theme) -> str:
    """An SVG of one or several panels, without a background, its text as text."""
    panels = draw if isinstance(draw, tuple) else (draw,)
    with DRAWING, mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "diffcl", "font.size": 10}):
        figure = Figure(figsize=SIZE)
        figure.subplots_adjust(**MARGINS)  # a layout that looks for them would draw everything twice
        every = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, panel in zip(every, panels, strict=True):
            axes.set_facecolor("none")
            axes.grid(color=theme.faint, linewidth=0.8, axis="y")
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)
            axes.spines[["left", "bottom"]].set_color(theme.faint)
            axes.tick_params(colors=theme.ink)
            panel(axes)
            for label in (axes.xaxis.label, axes.yaxis.label):
                label.set_color(theme.ink)
        written = io.StringIO()
        figure.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _named(written.getvalue())


def _spread(count: int) -> NDArray[np.float64]:
    """Places side by side for so many points."""
    return np.linspace(-0.25, 0.25, count) if count > 1 else np.zeros(count)


def _legend(axes: Axes, theme: Theme, handles: Sequence[Artist] | None = None) -> None:
    """Name what is drawn, above it."""
    axes.legend(
        handles=handles, frameon=False, labelcolor=theme.ink, fontsize=9, ncols=3, loc="lower left",
        bbox_to_anchor=(0, 1), borderaxespad=0.2, handlelength=1.2, columnspacing=1.0,
    )  # fmt: skip


@cache
def _known_characters() -> frozenset[int]:
    """Code points that matplotlib's own font can draw."""
    return frozenset(get_font(findfont("DejaVu Sans")).get_charmap())


def _short(name: str, most: int = 18) -> str:
    """A name that fits into a chart, without signs of formulas; `_named` puts in what matplotlib's font has not."""
    plain = name.replace("$", "")
    plain = plain if len(plain) <= most else f"{plain[: most - 1]}…"
    return "".join(
        one if ord(one) in _known_characters() and ord(one) not in STAND_INS else _stand_in(one)
        for one in plain
    )


def _stand_in(one: str) -> str:
    """Two signs that matplotlib can measure and draw in the place of one that it cannot."""
    if ord(one) > 0xFFFF or not one.isprintable() or ord(one) in STAND_INS:
        return "□"
    return "".join(chr(STAND_INS.start + part) for part in divmod(ord(one), 256))


def _named(svg: str) -> str:
    """A chart with the signs themselves, for which a browser has a font, in the place of their stand-ins."""
    pair = f"([{chr(STAND_INS.start)}-{chr(STAND_INS.stop - 1)}])" * 2

    def meant(found: re.Match[str]) -> str:
        high, low = (ord(one) - STAND_INS.start for one in found.groups())
        return chr(256 * high + low)

    return re.sub(pair, meant, svg)

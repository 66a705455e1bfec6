"""Figures of a study's tables as SVG: curves of scores, the gain of compression in training, the train x test matrix.

Equal tables give equal bytes. Text stays text, in `INK` on `PAPER`; a page replaces both by its own colours (`Drawing.inline`).
Nothing here touches pyplot's global state. To add a figure, write a function of a table that returns a `Drawing`.
"""

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator
from matplotlib.typing import RcKeyType
from scipy.optimize import isotonic_regression

from analysis.recovery import ordered
from analysis.words import arrow, better, decimals

INK = "#1c1e21"
PAPER = "#fefefe"
FAINT = "#8c8f94"
"""Colour of grids, axes and the baseline; legible on white and on black."""
MATCHED = LinearSegmentedColormap.from_list("matched", ["#eda052", "#d55e00", "#963c00"])
"""Colours of networks retrained at one level, from the mildest to the heaviest."""
MIXED = ("#0072b2", "#cc79a7", "#56b4e9", "#009e73")
"""Colours of recipes with several levels, from the colour-blind safe palette of Okabe and Ito (2008)."""
RECALIBRATED = "#009e73"
RC: dict[RcKeyType, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.parse_math": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": FAINT,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.4,
    "lines.markersize": 4,
    "errorbar.capsize": 0,
}
SIZE, PLOT = (5.4, 3.5), (0.115, 0.15, 0.625, 0.745)
"""Figure size in inches; left, bottom, width and height of the plot as fractions of it. Curve labels are right of the plot."""
LINE = 12.0
"""Distance between curve labels, in points."""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure as an SVG document. `name` serves as file name, `title` describes the content. Notebooks display it directly."""

    name: str
    title: str
    svg: str = field(repr=False)

    def inline(self) -> str:
        """The figure as an HTML element with a transparent background, in the colour of the text around it."""
        return self.svg[self.svg.index("<svg") :].replace(INK, "currentColor").replace(PAPER, "none")

    def _repr_svg_(self) -> str:
        return self.svg


@dataclass(frozen=True, kw_only=True)
class _Line:
    """One network's curve."""

    label: str
    look: tuple[str, str, str]
    """Colour, line style, marker."""
    rows: pd.DataFrame


@mpl.rc_context(RC)
def by_level(rows: pd.DataFrame, codec: str) -> Drawing:
    """Score against level, mildest level left. Bars: standard deviation over seeds. Rings: the training level.

    `rows` are those of `analysis.recovery.matrix` for one architecture, data set and metric.
    """
    lines = _lines(rows, codec)
    levels = _levels(rows, codec)
    places = {level: place for place, level in enumerate([0, *levels])}
    figure, axes = _plot()
    ends = []
    for line in lines:
        x = np.array([places[level] for level in line.rows["level"]], float)
        ends.append((line.label, line.look[0], *_draw(axes, line, x)))
    axes.set_xticks(list(places.values()), ["clean", *(str(level) for level in levels)])
    axes.set_xlabel(f"{codec} level, heavier to the right" if codec else "condition")
    axes.set_xlim(-0.3, max(len(places) - 1, 0.5) + 0.1)
    _name(axes, rows)
    _label(axes, ends)
    return _drawing(figure, f"{_stem(rows, codec)}-by-level", f"{_title(rows, codec)}: score against level")


@mpl.rc_context(RC)
def by_rate(rows: pd.DataFrame, codec: str) -> Drawing:
    """Score against bits per pixel, without clean. The logarithmic axis falls to the right, so compression grows to the right."""
    figure, axes = _plot()
    ends = [
        (line.label, line.look[0], *_draw(axes, line, line.rows["bits_per_pixel"].to_numpy(float)))
        for line in _lines(rows[rows["codec"] == codec], codec)
    ]
    axes.set_xscale("log")
    rates = rows[rows["codec"] == codec].drop_duplicates("level").set_index("level")["bits_per_pixel"]
    axes.set_xlim(float(rates.max()) * 1.12, float(rates.min()) / 1.04)
    axes.xaxis.set_major_locator(FixedLocator(_round_rates(float(rates.min()), float(rates.max()))))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    for level, rate in rates.items():
        axes.text(float(rate), 1.01, str(level), transform=axes.get_xaxis_transform(), ha="center", va="bottom", size=8.5)
    axes.set_xlabel(f"bits per pixel, smaller files to the right (above: {codec} level)")
    _name(axes, rows)
    _label(axes, ends)
    return _drawing(figure, f"{_stem(rows, codec)}-by-rate", f"{_title(rows, codec)}: score against bits per pixel")


@mpl.rc_context(RC)
def gains(rows: pd.DataFrame, codec: str) -> Drawing:
    """R - C, the gain of compression in training, against level with its 95 % interval.

    Networks trained at one level are shown at that level only. `rows` are those of `analysis.recovery.recovery` for one
    architecture, data set and metric. The axis fits the values; a longer interval is cut off at its edge.
    """
    of_codec = rows[rows["codec"] == codec]
    levels = list(dict.fromkeys(of_codec["level"]))
    places = {level: place for place, level in enumerate(levels)}
    matched = of_codec[of_codec["matched"]]
    several = of_codec[~of_codec["cell"].isin(set(matched["cell"]))]
    groups = [
        ("at this level", MATCHED(0.6), "o", matched[~matched["recalibrated"]]),
        ("recalibrated", RECALIBRATED, "x", matched[matched["recalibrated"]]),
        *(
            (str(recipe), MIXED[place % len(MIXED)], "D", of_recipe)
            for place, (recipe, of_recipe) in enumerate(several.groupby("recipe", sort=False))
        ),
    ]
    drawn = [group for group in groups if not group[3].empty]
    figure, axes = _plot()
    for position, (label, colour, marker, group) in enumerate(drawn):
        x = np.array([places[level] for level in group["level"]], float) + 0.14 * (position - (len(drawn) - 1) / 2)
        values = group["compression"].to_numpy(float)
        bounds = np.abs(group[["compression_low", "compression_high"]].to_numpy(float).T - values)
        axes.errorbar(x, values, bounds, color=colour, marker=marker, linestyle="none", elinewidth=1.2, label=label)
    known = pd.concat([group for *_, group in drawn]).dropna(subset=["compression"])
    if not known.empty:
        reach = 4 * float(known["compression"].abs().max())
        low = max(float(known["compression_low"].min()), -reach)
        high = min(float(known["compression_high"].max()), reach)
        margin = 0.06 * (max(high, 0) - min(low, 0) or 1)
        axes.set_ylim(min(low, 0) - margin, max(high, 0) + margin)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_xticks(list(places.values()), [str(level) if level else "clean" for level in levels])
    axes.set_xlim(-0.5, len(levels) - 0.5)
    axes.set_xlabel(f"{codec} level tested, heavier to the right")
    axes.set_title(f"R - C, {rows['metric'].iloc[0]}: above zero is better", loc="left", size=10)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, handlelength=1.2)
    return _drawing(figure, f"{_stem(rows, codec)}-gain", f"{_title(rows, codec)}: retrained minus control with its 95 % interval")


@mpl.rc_context(RC)
def heat_map(rows: pd.DataFrame) -> Drawing:
    """The train x test matrix: one row per network, one column per condition. Darker is better; frames mark the training level.

    `rows` are those of `analysis.recovery.matrix` for one architecture, data set and metric.
    """
    conditions, cells = list(dict.fromkeys(rows["condition"])), list(dict.fromkeys(ordered(rows)["cell"]))
    table = rows.pivot_table(index="cell", columns="condition", values="value", aggfunc="first").reindex(cells, columns=conditions)
    values = table.to_numpy(float)
    shade = values if rows["mode"].iloc[0] == "max" else -values
    matched = rows[rows["matched"]]
    framed = set(zip(matched["cell"], matched["condition"], strict=True))
    height, names = 0.75 + 0.25 * len(cells), 0.085 * max(map(len, cells)) + 0.1
    width = names + 0.62 * len(conditions) + 0.1
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((names / width, 0.1 / height, 0.62 * len(conditions) / width, 1 - 0.75 / height))
    axes.pcolormesh(shade, cmap=LinearSegmentedColormap.from_list("blues", ["#f2f7fb", "#5aa5cf"]), edgecolors="white", linewidth=1)
    digits = decimals(values)
    for (row, column), value in np.ndenumerate(values):
        text = "" if math.isnan(value) else f"{value:.{digits}f}"
        axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", color="#000000")
        if (cells[row], conditions[column]) in framed:
            axes.add_patch(mpl.patches.Rectangle((column + 0.04, row + 0.06), 0.92, 0.88, fill=False, edgecolor="#000000"))
    axes.invert_yaxis()
    axes.xaxis.tick_top()
    axes.set_xticks(np.arange(len(conditions)) + 0.5, conditions)
    axes.set_yticks(np.arange(len(cells)) + 0.5, cells)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    title = f"{rows['metric'].iloc[0]} ({better(rows)} {arrow(rows)}): trained (row) x tested (column)"
    axes.set_title(title, loc="left", size=10, pad=18)
    return _drawing(figure, f"{_stem(rows, '')}-matrix", f"{_title(rows, '')}: trained x tested")


# --- inside -----------------------------------------------------------------------------------------------------------


def _levels(rows: pd.DataFrame, codec: str) -> list[int]:
    """The ladder: the tested levels, mildest first."""
    return [int(level) for level in dict.fromkeys(rows.loc[rows["codec"] == codec, "level"]) if level]


def _lines(rows: pd.DataFrame, codec: str) -> list[_Line]:
    """Curves of the networks trained on clean or with the codec, in the order of `ordered`."""
    shown = ordered(rows[rows["codec"].isin(["", codec]) & rows["trained_on"].isin(["", codec])])
    kinds = shown.drop_duplicates("cell").set_index("cell")
    single = list(kinds.index[(kinds["trained_at"] != 0) & ~kinds["recalibrated"]])
    several = list(kinds.index[(kinds["trained_at"] == 0) & (kinds["role"] == "retrained")])
    lines = []
    for cell, of_cell in shown.groupby("cell", sort=False):
        first = of_cell.iloc[0]
        if first["role"] == "baseline":
            look = (FAINT, "--", "o")
        elif first["role"] == "continued":
            look = (INK, "-", "s")
        elif cell in single:
            look = (mpl.colors.to_hex(MATCHED(single.index(cell) / max(len(single) - 1, 1))), "-", "o")
        elif cell in several:
            look = (MIXED[several.index(cell) % len(MIXED)], "-.", "D")
        else:
            look = (RECALIBRATED, ":", "x")
        lines.append(_Line(label=str(first["recipe"]), look=look, rows=of_cell))
    return lines


def _plot() -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE)
    axes = figure.add_axes(PLOT)
    axes.grid(visible=True)
    axes.set_axisbelow(True)
    return figure, axes


def _draw(axes: Axes, line: _Line, x: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Draw a curve with its spread over seeds. Returns the position of its last point, or NaN where it has none."""
    y, spread = line.rows["value"].to_numpy(float), line.rows["sd"].to_numpy(float)
    bars = None if np.isnan(spread).all() else spread
    colour, style, marker = line.look
    axes.errorbar(x, y, bars, color=colour, linestyle=style, marker=marker, elinewidth=0.8)
    at = line.rows["matched"].to_numpy(bool)
    axes.plot(x[at], y[at], "o", markersize=9.5, markerfacecolor="none", markeredgecolor=colour, markeredgewidth=1.1)
    last = np.flatnonzero(np.isfinite(y))[-1:]  # a score may be undefined, for example where nothing is detected
    return (float(x[last[0]]), float(y[last[0]])) if last.size else (math.nan, math.nan)


def _name(axes: Axes, rows: pd.DataFrame) -> None:
    axes.set_title(f"{rows['metric'].iloc[0]} ({better(rows)} {arrow(rows)})", loc="left", size=10, pad=17)


def _label(axes: Axes, ends: Sequence[tuple[str, str, float, float]]) -> None:
    """Label each curve beside its end, without overlap."""
    low, high = axes.get_ylim()
    height = SIZE[1] * 72 * PLOT[3]
    order = sorted((index for index in range(len(ends)) if math.isfinite(ends[index][3])), key=lambda index: ends[index][3])
    if not order:
        return
    wanted = np.array([(ends[index][3] - low) / (high - low) * height for index in order])
    # Positions nearest to the curves' ends, in the same order, at least one line apart.
    offsets = np.arange(len(order)) * LINE
    placed = isotonic_regression(wanted - offsets).x + offsets
    for index, position in zip(order, placed, strict=True):
        label, colour, x, y = ends[index]
        axes.annotate(
            label, xy=(x, y), xycoords="data", xytext=(1.045, float(position) / height), textcoords="axes fraction",
            va="center", ha="left", size=9.5, color=INK, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 3, "relpos": (0, 0.5)},
        )  # fmt: skip


def _round_rates(low: float, high: float) -> list[float]:
    """Multiples of powers of ten by 1, 2, 3, 5 and 7 between two rates."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [
        digit * 10.0**power for power in powers for digit in (1, 2, 3, 5, 7) if low / 1.04 <= digit * 10.0**power <= high * 1.12
    ]


def _stem(rows: pd.DataFrame, codec: str) -> str:
    first = rows.iloc[0]
    parts = (first["architecture"], first["dataset"], codec, first["metric"])
    return "-".join("".join(c if c.isalnum() or c == "_" else "_" for c in str(part)) for part in parts if part)


def _title(rows: pd.DataFrame, codec: str) -> str:
    first = rows.iloc[0]
    return f"{first['architecture']} on {first['dataset']}, {', '.join(filter(None, (codec, str(first['metric']))))}"


def _drawing(figure: Figure, name: str, title: str) -> Drawing:
    figure.patch.set_facecolor(PAPER)
    for axes in figure.axes:
        axes.patch.set_visible(False)
    buffer = io.StringIO()
    # The salt determines element ids; figures on one page must not share ids.
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    # Group ids repeat in every figure and nothing refers to them.
    svg = re.sub(r'<g id="[^"]*"', "<g", buffer.getvalue())
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{escape(title)}" ', 1)
    return Drawing(name=name, title=title, svg=svg)

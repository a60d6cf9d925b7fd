"""R² by model as points with intervals: one panel for the student's own sessions, one for those it never saw."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from spikefield.report.drawing import INK, MUTED, PAPER, WIDE_IN, footer_in, quiet, shortened, write_footer
from spikefield.report.models import GROUP_TITLES, in_order, look
from spikefield.report.tables import STUDENT, Panel, number, panel_title

_ROW_IN, _HEAD_IN, _FOOT_IN, _NAMES_IN, _VALUE_IN, _BETWEEN_IN = 0.29, 0.5, 0.52, 1.36, 0.58, 0.1
_LOWEST = -0.5


def plot_r2(
    panels: Sequence[Panel], *, ceiling: Mapping[str, float] | None, width_in: float, footer: Sequence[str] = ()
) -> Figure:
    """Draw every panel's means; side by side where the width allows, else below one another.

    Args:
        ceiling: the best attainable R² of each session, where it is known.
        footer: lines written under the drawing, for a picture that stands alone.
    """
    rows = _rows(panels)
    columns = len(panels) if width_in >= WIDE_IN else 1
    body_in = _ROW_IN * len(rows)
    panel_in = _HEAD_IN + body_in + _FOOT_IN
    height_in = panel_in * (len(panels) // columns) + footer_in(footer)
    figure = Figure(figsize=(width_in, height_in))
    plot_in = (width_in - _NAMES_IN + _BETWEEN_IN) / columns - _VALUE_IN - _BETWEEN_IN
    for i, panel in enumerate(panels):
        column, row = i % columns, i // columns
        left_in = _NAMES_IN + column * (plot_in + _VALUE_IN + _BETWEEN_IN)
        bottom_in = height_in - row * panel_in - _HEAD_IN - body_in
        box = (left_in / width_in, bottom_in / height_in, plot_in / width_in, body_in / height_in)
        axes = figure.add_axes(box)
        _scale(axes, rows=len(rows), limits=_limits(panels), ceiling=_mean_ceiling(panel, ceiling))
        _title(axes, panel, room_in=_NAMES_IN if column == 0 else 0.0, width_in=plot_in + _VALUE_IN)
        for y, (text, heading) in enumerate(rows):
            if heading:
                axes.axhspan(y - 0.62, y + 0.5, facecolor=PAPER, lw=0, zorder=1.5)
            elif text in panel.models():
                _point(axes, panel, text, y)
            if column == 0:
                _name(axes, y, text, heading=heading)
    write_footer(figure, footer)
    return figure


def _rows(panels: Sequence[Panel]) -> list[tuple[str, bool]]:
    """List the rows from top to bottom: (text, is a heading)."""
    rows: list[tuple[str, bool]] = []
    group = ""
    for model in in_order({m for panel in panels for m in panel.models()}):
        if look(model).reads != group:
            group = look(model).reads
            rows.append((GROUP_TITLES[group], True))
        rows.append((model, False))
    return rows


def _limits(panels: Sequence[Panel]) -> tuple[float, float]:
    lows = [
        min(e.mean, e.low if np.isfinite(e.low) else e.mean)
        for p in panels
        for m in p.models()
        for e in [p.estimate(m)]
    ]
    return max(_LOWEST, min([-0.04, *[low - 0.03 for low in lows]])), 1.0


def _mean_ceiling(panel: Panel, ceiling: Mapping[str, float] | None) -> float | None:
    known = [(ceiling or {}).get(session) for session in panel.sessions]
    numbers = [value for value in known if value is not None]
    return float(np.mean(numbers)) if numbers and len(numbers) == len(known) else None


def _scale(axes: Axes, *, rows: int, limits: tuple[float, float], ceiling: float | None) -> None:
    quiet(axes)
    axes.set(xlim=limits, ylim=(rows - 0.4, -0.6), yticks=[], xlabel="R² on test time")
    step = 0.5 if limits[1] - limits[0] > 1.2 else 0.25
    axes.set_xticks(np.arange(np.ceil(limits[0] / step), np.floor(limits[1] / step) + 1) * step)
    axes.xaxis.grid(True)
    axes.axvline(0, color=MUTED, lw=0.9, zorder=1.2)
    axes.set_axisbelow(True)
    if ceiling is not None:
        axes.plot([ceiling] * 2, [-0.5, rows - 0.4], color=INK, lw=1.1, ls=(0, (4, 3)), zorder=2)
        axes.text(ceiling, -0.62, f"ceiling {number(ceiling)}", ha="right", va="bottom", fontsize=9, color=MUTED)


def _title(axes: Axes, panel: Panel, *, room_in: float, width_in: float) -> None:
    """Write the panel's title above it; a long one starts further left, over the names, and is cut if need be."""
    title = panel_title(panel)[0].upper() + panel_title(panel)[1:]
    size, left = 10.5, 0.0
    if title != shortened(title, room_in=width_in, fontsize=size) and room_in:
        left, width_in = -72 * (room_in - 0.06), width_in + room_in - 0.06
    place: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points"}
    text = shortened(title, room_in=width_in, fontsize=size)
    axes.annotate(text, (0, 1), (left, 17), weight="bold", fontsize=size, **place)


def _name(axes: Axes, y: int, text: str, *, heading: bool) -> None:
    """Write a model's name or a group's heading left of the axes, a fixed way off in points."""
    place = {"xycoords": axes.get_yaxis_transform(), "textcoords": "offset points", "va": "center"}
    left = -72 * (_NAMES_IN - 0.06)
    if heading:
        axes.annotate(text, (0, y), (left, -2), fontsize=9, color=MUTED, **place)
        return
    axes.annotate(text, (0, y), (left + 15, 0), weight="bold" if text == STUDENT else "normal", **place)
    shift = ScaledTranslation((left + 5) / 72, 0, axes.figure.dpi_scale_trans)
    _mark(axes, 0.0, y, text, size=6.0, transform=axes.get_yaxis_transform() + shift)


def _mark(axes: Axes, x: float, y: int, model: str, *, size: float, **place: Any) -> None:
    style = look(model)
    face = PAPER if style.linear and style.marker != "x" else style.color
    axes.plot([x], [y], style.marker, ms=size, mfc=face, mec=style.color, mew=1.7, clip_on=False, zorder=4, **place)


def _point(axes: Axes, panel: Panel, model: str, y: int) -> None:
    color, estimate, limits = look(model).color, panel.estimate(model), axes.get_xlim()
    by_session = panel.by_seed(model).mean(axis=0)
    if len(by_session) > 1:
        shown = by_session[by_session >= limits[0]]
        axes.plot(shown, np.full(len(shown), y + 0.36), "|", ms=4, mew=1, color=MUTED, zorder=2)
    if np.isfinite(estimate.low):
        axes.plot(np.clip([estimate.low, estimate.high], *limits), [y, y], color=color, lw=2.6, zorder=3)
    if estimate.mean >= limits[0]:
        _mark(axes, estimate.mean, y, model, size=6.5)
    else:
        axes.plot([limits[0]], [y], marker="<", ms=6, color=color, clip_on=False)
    text = number(estimate.mean).replace("-", "−")
    place = {"xycoords": axes.get_yaxis_transform(), "textcoords": "offset points", "va": "center"}
    axes.annotate(text, (1, y), (7, 0), weight="bold" if model == STUDENT else "normal", **place)

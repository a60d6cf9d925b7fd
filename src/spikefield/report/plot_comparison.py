"""Two figures of a series: every variant's R² with its interval, and session by session against one of them."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from spikefield.report.drawing import GRID, MUTED, WIDE_IN, footer_in, quiet, write_footer
from spikefield.report.models import look

_ROW_IN, _HEAD_IN, _SIDE_IN = 0.24, 0.9, 2.4
_MOST_PANELS = 12
_PER_ROW = 3


def plot_series(summary: pd.DataFrame, *, width_in: float = WIDE_IN, footer: Sequence[str] = ()) -> Figure:
    """Draw one row a variant and model, a panel for sessions that were trained on and one for the others."""
    rows = summary[summary["metric"] == "r2"]
    labels = list(dict.fromkeys(zip(rows["variant"], rows["model"], rows["regime"], strict=True)))
    height_in = _HEAD_IN + _ROW_IN * max(len(labels), 1) + footer_in(footer)
    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    _leave_room(figure, footer)
    kinds = [kind for kind in ("own", "other", "rest") if (rows["panel"] == kind).any()] or ["own"]
    for axes, kind in zip(figure.subplots(1, len(kinds), squeeze=False, sharey=True)[0], kinds, strict=True):
        quiet(axes)
        here = rows[rows["panel"] == kind]
        for row in here.to_dict("records"):
            y = labels.index((row["variant"], row["model"], row["regime"]))
            color = look(row["model"]).color
            axes.plot([row["low"], row["high"]], [y, y], color=color, lw=2.4)
            axes.plot([row["mean"]], [y], look(row["model"]).marker, color=color, ms=5.5)
        axes.set(title=f"{kind} sessions", xlabel="R² on test time", ylim=(len(labels) - 0.4, -0.6))
        axes.set_yticks(range(len(labels)), [f"{variant}  {model}" for variant, model, _ in labels])
        axes.xaxis.grid(True)
        axes.axvline(0, color=MUTED, lw=0.9)
    write_footer(figure, footer)
    return figure


def plot_sessions(
    scores: Mapping[str, Mapping[str, float]], *, against: str, width_in: float = WIDE_IN, footer: Sequence[str] = ()
) -> Figure:
    """Draw one panel for each `variant/model`: its R² of every session over that of `against`."""
    reference = scores.get(against, {})
    shown = [x for x in scores if x != against and reference.keys() & scores[x].keys()][:_MOST_PANELS]
    n_rows = max(-(-len(shown) // _PER_ROW), 1)
    height_in = _SIDE_IN * n_rows + footer_in(footer)
    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    _leave_room(figure, footer)
    panels = figure.subplots(n_rows, _PER_ROW, squeeze=False).ravel()
    values = [v for x in (*shown, against) for v in scores.get(x, {}).values()]
    low = max(min([*values, 0.0]) - 0.05, -0.5)
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    for axes, label in zip(panels, shown, strict=False):
        sessions = [s for s in reference if s in scores[label]]
        x, y = (np.clip([one[s] for s in sessions], low, 1.0) for one in (reference, scores[label]))
        quiet(axes)
        axes.plot([low, 1], [low, 1], color=GRID, lw=1)
        axes.plot(x, y, "o", ms=4.5, color=look(label.partition("/")[2]).color, alpha=0.8)
        axes.set(xlim=(low, 1), ylim=(low, 1), xlabel=against, aspect="equal")
        axes.set_title(label, fontsize=9)
    write_footer(figure, footer)
    return figure


def _leave_room(figure: Figure, footer: Sequence[str]) -> None:
    """Keep the drawing above its footer, and its titles inside the picture."""
    bottom = footer_in(footer) / figure.get_figheight()
    figure.set_layout_engine("constrained", rect=(0, bottom, 1, 1 - bottom), h_pad=0.1)

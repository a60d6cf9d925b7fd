"""The figures of the open questions: R² over a number, by row, by teacher, by what was measured, and by forecast.

results of a series with `at`, `line` and `tested_on` -> one drawing each
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, ScalarFormatter
from scipy.stats import spearmanr

from spikefield.report.drawing import MUTED, footer_in, legend_above, quiet, write_footer
from spikefield.report.findings import Drawing, measured, panelled, points
from spikefield.report.models import in_order, look

_PANEL_IN, _LEGEND_IN, _ROW_IN, _HEAD_IN = 2.5, 0.3, 0.26, 0.8
_LOWEST = -0.5
_TITLES = {"own": "sessions distilled on", "new": "sessions never distilled on"}
_LINES = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#C48800", "#2F9AD4")
_MEASURED = {
    "below_hz": "field below (Hz)",
    "band_hz": "one band of the field, from (Hz)",
    "lag_ms": "field so much after behaviour (ms)",
    "n_channels": "channels read",
    "dead_percent": "channels gone dead (%)",
    "without_channel": "R² lost without channel (place on the array)",
    "refitted_month": "months on, readout fitted anew",
    "carried_month": "months on, readout of the first month",
}
_LOGARITHMIC = ("below_hz", "n_channels")
_STRAIGHT = (*_TITLES, *_MEASURED)
Results = pd.DataFrame


def plot_curve(
    results: Results, drawing: Drawing, *, against: str, width_in: float, footer: Sequence[str] = ()
) -> Figure:
    """Draw R² over the variants' numbers, a line a group of variants; others beside as level lines."""
    here = panelled(results[results["metric"] == "r2"], drawing, against=against)
    shown = here[here["model"].isin(drawing.models) & here["at"].notna()]
    lines = points(shown, ["panel", "line", "model", "at"])
    several = len(drawing.models) > 1
    names = [
        f"{m} {line}".strip() if several else line or m for m, line in zip(lines["model"], lines["line"], strict=True)
    ]
    lines = lines.assign(name=names)
    figure, panels = _panels(lines["panel"], width_in, footer)
    handles: dict[str, Any] = {}
    for kind, axes in panels.items():
        for i, name in enumerate(dict.fromkeys(lines["name"])):
            part = lines[(lines["panel"] == kind) & (lines["name"] == name)].sort_values("at")
            handles[name] = _line(axes, part["at"], part, color=_LINES[i % len(_LINES)])
        for row in _baselines(here, drawing, against, kind):
            handles[row["model"]] = _level(axes.axhline, row)
        axes.set(title=_TITLES[kind], xlabel=drawing.x)
        if drawing.log:
            _logarithmic(axes, sorted(lines["at"].unique()))
    next(iter(panels.values())).set_ylabel("R² of behaviour")
    legend_above(figure, list(handles.values()), list(handles))
    write_footer(figure, footer)
    return figure


def plot_rows(
    results: Results, drawing: Drawing, *, against: str, width_in: float, footer: Sequence[str] = ()
) -> Figure:
    """Draw one row a variant (and model, where several are shown), best first; others beside as level lines."""
    here = panelled(results[results["metric"] == "r2"], drawing, against=against)
    rows = points(here[here["model"].isin(drawing.models)], ["panel", "variant", "model"])
    several = rows["model"].nunique() > 1
    rows = rows.assign(
        name=[f"{v}  {m}" if several else v for v, m in zip(rows["variant"], rows["model"], strict=True)]
    )
    figure, panels = _panels(rows["panel"], width_in, footer, height_in=_HEAD_IN + _ROW_IN * rows["name"].nunique())
    first = next(iter(panels))
    order = list(rows[rows["panel"] == first].sort_values("mean", ascending=False)["name"])
    order += [name for name in dict.fromkeys(rows["name"]) if name not in order]
    handles: dict[str, Any] = {}
    for kind, axes in panels.items():
        for row in rows[rows["panel"] == kind].to_dict("records"):
            _bar(axes, row, float(order.index(row["name"])), look(row["model"]).color)
        for row in _baselines(here, drawing, against, kind):
            handles[row["model"]] = _level(axes.axvline, row)
        _row_axes(axes, order if kind == first else [""] * len(order), title=_TITLES[kind])
    legend_above(figure, list(handles.values()), list(handles))
    write_footer(figure, footer)
    return figure


def plot_teachers(
    results: Results, drawing: Drawing, *, against: str, width_in: float, footer: Sequence[str] = ()
) -> Figure:
    """Draw each variant's student over its teacher, mean over sessions and seeds; equal on the diagonal."""
    here = panelled(results[results["metric"] == "r2"], drawing, against=against)
    means = points(here[here["model"].isin([*drawing.models, "teacher"])], ["panel", "variant", "model"])
    wide = means.pivot_table(index=["panel", "variant"], columns="model", values="mean", sort=False).reset_index()
    figure, panels = _panels(wide["panel"], width_in, footer, height_in=3.4)
    student = drawing.models[0]
    for kind, axes in panels.items():
        part = wide[wide["panel"] == kind].dropna()
        for i, row in enumerate(part.to_dict("records")):
            axes.plot(row["teacher"], row[student], "o", color=_LINES[i % len(_LINES)], ms=6)
            axes.annotate(row["variant"], (row["teacher"], row[student]), (5, 3), textcoords="offset points", size=8)
        ends = np.array([*part["teacher"], *part[student]])
        low, high = (ends.min() - 0.05, ends.max() + 0.05) if len(ends) else (0.0, 1.0)
        axes.plot([low, high], [low, high], color=MUTED, lw=0.8)
        axes.set(title=_TITLES[kind], xlabel="R² of the teacher", xlim=(low, high), ylim=(low, high), aspect="equal")
        axes.grid(True)
    next(iter(panels.values())).set_ylabel("R² of the student")
    write_footer(figure, footer)
    return figure


def plot_measured(
    results: Results, drawing: Drawing, *, against: str, width_in: float, footer: Sequence[str] = ()
) -> Figure:
    """Draw a panel for each thing that a measure varied, a line a model, of the variant compared with."""
    rows = measured(results)
    rows = rows[rows["variant"] == against.partition("/")[0]]
    lines = points(rows, ["what", "model", "x"])
    figure, panels = _panels(lines["what"], width_in, footer, per_row=3 if lines["what"].nunique() > 2 else 2)
    handles: dict[str, Any] = {}
    for what, axes in panels.items():
        for model in in_order(lines["model"].unique()):
            part = lines[(lines["what"] == what) & (lines["model"] == model)].sort_values("x")
            if len(part):
                handles[model] = _line(axes, part["x"], part, color=look(model).color)
        axes.set_xlabel(_MEASURED.get(what, what), fontsize=9)
        if what in _LOGARITHMIC:
            _logarithmic(axes, sorted(lines.loc[lines["what"] == what, "x"].unique()))
    next(iter(panels.values())).set_ylabel("R² of behaviour")
    legend_above(figure, list(handles.values()), list(handles))
    write_footer(figure, footer)
    return figure


def plot_forecast(
    results: Results, drawing: Drawing, *, against: str, width_in: float, footer: Sequence[str] = ()
) -> Figure:
    """Draw the ways of using a new session, and how R² without labels goes with what is known beforehand.

    Sessions to which not every way is open are of another array; their rows stand apart.
    """
    new = results[results["metric"].isin(["r2_refitted", "r2_carried", "shift"])]
    ways = new.groupby("session")["model"].transform("nunique")
    elsewhere = ways < ways.max()
    new = new.assign(model=new["model"].where(~elsewhere, new["model"] + ", another array"))
    models = [*dict.fromkeys(new.loc[~elsewhere, "model"]), *dict.fromkeys(new.loc[elsewhere, "model"])]
    height_in = max(_HEAD_IN + 2 * _ROW_IN * len(models), 2.6)
    figure = _figure(width_in, height_in, footer)
    left, right = figure.subplots(1, 2)
    bars = points(new[new["metric"] != "shift"], ["model", "metric"])
    handles: dict[str, Any] = {}
    for row in bars.to_dict("records"):
        fitted = row["metric"] == "r2_refitted"
        y = models.index(row["model"]) + (-0.13 if fitted else 0.13)
        name = "readout fitted on the new session's labels" if fitted else "no labels: readout of the first session"
        handles[name] = _bar(left, row, y, _LINES[0] if fitted else _LINES[1])
    _row_axes(left, models, title="ways to use a new session")
    n_here = new.loc[~elsewhere, "model"].nunique()
    wide = new.pivot_table(index=["model", "session", "seed"], columns="metric", values="value").reset_index().dropna()
    for i, model in enumerate(models):
        part = wide[wide["model"] == model]
        (handles[model],) = right.plot(
            part["shift"], part["r2_carried"].clip(lower=_LOWEST), "os"[i >= n_here], ms=4, c=_LINES[i % len(_LINES)]
        )
    _told(right, wide)
    quiet(right)
    right.grid(True)
    legend_above(figure, list(handles.values())[:2], list(handles)[:2])
    right.legend(handles.values() if len(handles) < 3 else list(handles.values())[2:], list(handles)[2:], fontsize=8)
    write_footer(figure, footer)
    return figure


PLOTS: dict[str, Callable[..., Figure]] = {
    "curve": plot_curve,
    "rows": plot_rows,
    "teachers": plot_teachers,
    "measured": plot_measured,
    "forecast": plot_forecast,
}


def _told(axes: Axes, wide: pd.DataFrame) -> None:
    """Title the scatter with the rank correlation, where there are points enough."""
    enough = len(wide) > 3 and wide["shift"].nunique() > 1 and wide["r2_carried"].nunique() > 1
    said = f"\n(Spearman {spearmanr(wide['shift'], wide['r2_carried'])[0]:.2f})" if enough else ""
    axes.set(title=f"known beforehand{said}", xlabel="shift of the representation", ylabel="R² without labels")


def _baselines(here: pd.DataFrame, drawing: Drawing, against: str, kind: str) -> list[dict[Hashable, Any]]:
    """Return the means of the models beside, of the variant that all are compared with."""
    rows = here[(here["variant"] == against.partition("/")[0]) & here["model"].isin(drawing.beside)]
    return points(rows[rows["panel"] == kind], ["model"]).to_dict("records")


def _panels(
    kinds: pd.Series, width_in: float, footer: Sequence[str], *, height_in: float = _PANEL_IN, per_row: int = 2
) -> tuple[Figure, dict[str, Axes]]:
    """Return a figure with one panel for each kind, in the order in which kinds are known."""
    names = sorted(dict.fromkeys(kinds), key=lambda k: _STRAIGHT.index(k) if k in _STRAIGHT else len(_STRAIGHT))
    names = names or ["own"]
    n_rows = -(-len(names) // per_row)
    figure = _figure(width_in, height_in * n_rows, footer)
    axes = figure.subplots(n_rows, min(per_row, len(names)), squeeze=False).ravel()
    for unused in axes[len(names) :]:
        unused.set_axis_off()
    for each in axes[: len(names)]:
        quiet(each)
        each.yaxis.grid(True)
    return figure, dict(zip(names, axes, strict=False))


def _figure(width_in: float, height_in: float, footer: Sequence[str]) -> Figure:
    height_in += _LEGEND_IN + footer_in(footer)
    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    bottom = footer_in(footer) / height_in
    figure.set_layout_engine("constrained", rect=(0, bottom, 1, 1 - bottom - _LEGEND_IN / height_in))
    return figure


def _line(axes: Axes, x: pd.Series, rows: pd.DataFrame, *, color: str) -> Any:
    """Draw means joined by a line, with their intervals; what lies far below zero is cut."""
    mean, low, high = (rows[name].clip(lower=_LOWEST) for name in ("mean", "low", "high"))
    axes.vlines(x, low, high, color=color, lw=1.2, alpha=0.6)
    (line,) = axes.plot(x, mean, color=color, lw=1.7, marker="o", ms=4)
    return line


def _level(draw: Callable[..., Any], row: dict[Hashable, Any]) -> Any:
    return draw(row["mean"], color=look(row["model"]).color, lw=1.2, ls=(0, (3, 2)))


def _bar(axes: Axes, row: dict[Hashable, Any], y: float, color: str) -> Any:
    axes.plot([max(row["low"], _LOWEST), max(row["high"], _LOWEST)], [y, y], color=color, lw=2.2, alpha=0.6)
    (point,) = axes.plot([max(row["mean"], _LOWEST)], [y], "o", color=color, ms=5.5)
    return point


def _row_axes(axes: Axes, names: Sequence[str], *, title: str) -> None:
    quiet(axes)
    axes.set(title=title, xlabel=f"R² of behaviour (at {_LOWEST} where lower)", ylim=(len(names) - 0.4, -0.6))
    axes.set_yticks(range(len(names)), names)
    axes.yaxis.grid(False)
    axes.xaxis.grid(True)


def _logarithmic(axes: Axes, ticks: Sequence[float]) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(ticks)
    axes.xaxis.set_major_formatter(ScalarFormatter())

"""Loss by epoch on training and validation time, one panel a model, and readout R² by epoch where it was measured."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from spikefield.report.drawing import MUTED, WIDE_IN, footer_in, legend_above, quiet, write_footer
from spikefield.report.models import in_order, look

_PANEL_IN, _LEGEND_IN = 1.75, 0.3
_TRAIN, _VALID = (0, (3, 1.5)), "-"


def plot_curves(curves: pd.DataFrame, *, width_in: float, footer: Sequence[str] = ()) -> Figure:
    """Draw the training curves: thin lines are seeds, thick ones their mean; dashed is training, solid validation.

    Args:
        curves: columns `model, seed, epoch, train_loss, valid_loss, r2`.
        footer: lines written under the drawing, for a picture that stands alone.
    """
    models = in_order(curves["model"].unique())
    scored = [m for m in models if curves.loc[curves["model"] == m, "r2"].notna().any()]
    count = len(models) + bool(scored)
    columns = min(count, 4 if width_in >= WIDE_IN else 2)
    rows = -(-count // columns)
    height_in = _LEGEND_IN + _PANEL_IN * rows + footer_in(footer)
    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    bottom = footer_in(footer) / height_in
    figure.set_layout_engine("constrained", rect=(0, bottom, 1, 1 - bottom - _LEGEND_IN / height_in))
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, model in zip(panels, models, strict=False):
        _losses(axes, curves[curves["model"] == model], model)
    if scored:
        _scores(panels[len(models)], curves, scored)
    for axes in panels[count:]:
        axes.set_visible(False)
    lines = [Line2D([], [], color=MUTED, lw=1.7, ls=dashes) for dashes in (_TRAIN, _VALID)]
    legend_above(figure, lines, ["training loss", "validation loss"])
    write_footer(figure, footer)
    return figure


def _losses(axes: Axes, curves: pd.DataFrame, model: str) -> None:
    color = look(model).color
    _frame(axes, model)
    for column, dashes in (("train_loss", _TRAIN), ("valid_loss", _VALID)):
        for _, run in curves.groupby("seed"):
            axes.plot(run["epoch"], run[column], color=color, lw=0.7, ls=dashes, alpha=0.35)
        mean = curves.groupby("epoch")[column].mean()
        axes.plot(mean.index, mean, color=color, lw=1.7, ls=dashes)


def _scores(axes: Axes, curves: pd.DataFrame, models: Sequence[str]) -> None:
    _frame(axes, "readout R²")
    for model in models:
        mean = curves[curves["model"] == model].dropna(subset=["r2"]).groupby("epoch")["r2"].mean()
        axes.plot(mean.index, mean, color=look(model).color, lw=1.7, marker=".", ms=5)


def _frame(axes: Axes, title: str) -> None:
    quiet(axes)
    axes.yaxis.grid(True)
    axes.set_title(title, pad=4)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4, min_n_ticks=3))
    axes.tick_params(labelsize=8.5)

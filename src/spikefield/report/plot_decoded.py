"""Decoded against true behaviour for the first stretch of test time, one strip a behaviour dim."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from spikefield.report.drawing import MUTED, WIDE_IN, footer_in, legend_above, quiet, write_footer
from spikefield.report.models import look

SHOWN_MODELS = ("teacher", "ridge-lfp", "distilled")
MOST_DIMS = 4
STRETCH_S = 20.0
_LINES = {"distilled": (1.7, "-"), "ridge-lfp": (1.2, (0, (3.5, 1.2))), "teacher": (1.2, (0, (1.2, 1.1)))}


def shown_models(arrays: Mapping[str, np.ndarray]) -> list[str]:
    """Return which of the models to draw were predicted, the student last so that it lies on top."""
    return [model for model in SHOWN_MODELS if f"pred_{model}" in arrays]


def first_stretch(time_s: np.ndarray) -> slice:
    """Return the bins from the first test bin of `time_s` (bin,) on, `STRETCH_S` long at most."""
    return slice(0, int(np.searchsorted(time_s, time_s[0] + STRETCH_S, side="right")))


def with_gaps(time_s: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Put a NaN row into values (bin, dim) wherever time (bin,) jumps by more than one and a half bins."""
    step = np.diff(time_s)
    if not len(step):
        return time_s, values
    after = np.flatnonzero(step > 1.5 * np.median(step)) + 1
    return np.insert(time_s, after, time_s[after - 1]), np.insert(values, after, np.nan, axis=0)


def plot_decoded(arrays: Mapping[str, np.ndarray], *, width_in: float, footer: Sequence[str] = ()) -> Figure:
    """Draw the true behaviour in grey and each model's reading of it in its colour.

    Args:
        arrays: `time_s` (bins,), `true` (bins, dims), `names` (dims,) and `pred_<model>` (bins, dims).
        footer: lines written under the drawing, for a picture that stands alone.
    """
    names = [str(name) for name in arrays["names"]][:MOST_DIMS]
    wide = width_in >= WIDE_IN
    height_in = 0.5 + (1.4 if wide else 1.25) * len(names) + 0.5 + footer_in(footer)
    figure = Figure(figsize=(width_in, height_in))
    margins = {
        "left": 0.42 / width_in,
        "right": 1 - 0.06 / width_in,
        "top": 1 - 0.5 / height_in,
        "bottom": (0.5 + footer_in(footer)) / height_in,
    }
    strips = figure.subplots(len(names), 1, sharex=True, squeeze=False, gridspec_kw={**margins, "hspace": 0.3})[:, 0]
    for dim, (axes, name) in enumerate(zip(strips, names, strict=True)):
        quiet(axes)
        axes.yaxis.grid(True)
        axes.locator_params(axis="y", nbins=3)
        axes.xaxis.set_major_locator(MaxNLocator(8 if wide else 5, integer=True, steps=[1, 2, 5, 10]))
        axes.tick_params(axis="y", labelsize=8.5)
        axes.set_title(name, pad=3, fontsize=9.5)
        _lines(axes, arrays, dim)
        axes.margins(x=0.005)
    strips[-1].set_xlabel("time in the session (s)")
    legend_above(figure, *strips[0].get_legend_handles_labels())
    write_footer(figure, footer)
    return figure


def _lines(axes: Axes, arrays: Mapping[str, np.ndarray], dim: int) -> None:
    stretch = first_stretch(arrays["time_s"])
    time_s = arrays["time_s"][stretch]
    axes.plot(*with_gaps(time_s, arrays["true"][stretch, dim]), color=MUTED, alpha=0.5, lw=3.4, label="true")
    for model in shown_models(arrays):
        width, dashes = _LINES[model]
        values = with_gaps(time_s, arrays[f"pred_{model}"][stretch, dim])
        axes.plot(*values, color=look(model).color, lw=width, ls=dashes, label=model)

"""R² of behaviour by the frequencies of the field that it is read from: below each cutoff, and from each band alone."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from spikefield.evaluation.bleed import SPIKES_FROM_HZ, BleedCheck
from spikefield.report.drawing import GRID, INK, MUTED, WIDE_IN, footer_in, quiet, shortened, write_footer

_ROW_IN, _TITLE_IN = 1.9, 0.15
_BAR = "#0072b2"
_MOST_SESSIONS = 12


def plot_bleed(checks: Sequence[BleedCheck], *, width_in: float = WIDE_IN, footer: Sequence[str] = ()) -> Figure:
    """Draw two panels a session, twelve sessions at most: the field below each cutoff, and each band alone."""
    shown = [check for check in checks if check.cutoffs][:_MOST_SESSIONS]
    height_in = _ROW_IN * len(shown) + _TITLE_IN + footer_in(footer)
    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    bottom = footer_in(footer) / height_in
    figure.set_layout_engine("constrained", rect=(0, bottom, 1, 1 - bottom))
    for check, (left, right) in zip(shown, figure.subplots(len(shown), 2, squeeze=False), strict=True):
        _below(left, check)
        _bands(right, check)
        right.sharey(left)
    write_footer(figure, footer)
    return figure


def _below(axes: Axes, check: BleedCheck) -> None:
    places = range(len(check.cutoffs))
    axes.plot(places, [cutoff.r2_below for cutoff in check.cutoffs], color=INK, lw=1.7, marker=".", ms=8)
    name = shortened(check.session_id, room_in=1.6, fontsize=10.5)
    _frame(axes, check, f"{name}: low-passed field", [f"{cutoff.high_hz:g}" for cutoff in check.cutoffs])
    axes.set_xlabel("cutoff (Hz)")
    axes.set_ylabel("R² of behaviour")


def _bands(axes: Axes, check: BleedCheck) -> None:
    axes.bar(range(len(check.cutoffs)), [cutoff.r2_band for cutoff in check.cutoffs], width=0.7, color=_BAR)
    _frame(axes, check, "each band alone", [f"{c.low_hz:g}–{c.high_hz:g}" for c in check.cutoffs])
    axes.set_xlabel("band (Hz)")
    axes.tick_params(axis="x", labelrotation=30, labelsize=8.5)


def _frame(axes: Axes, check: BleedCheck, title: str, names: Sequence[str]) -> None:
    quiet(axes)
    axes.yaxis.grid(True)
    axes.set_axisbelow(True)
    axes.axhline(0, color=MUTED, lw=0.8)
    axes.set_title(title, pad=4)
    axes.set_xticks(range(len(names)), names)
    axes.yaxis.set_major_locator(MaxNLocator(4, min_n_ticks=3))
    spiky = [i for i, cutoff in enumerate(check.cutoffs) if cutoff.low_hz >= SPIKES_FROM_HZ]
    if spiky:
        axes.axvspan(spiky[0] - 0.5, spiky[-1] + 0.5, color=GRID, alpha=0.45, lw=0, zorder=0)

"""Which part of each session was used for what: training, validation, test, and the guard between them."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from spikefield.report.drawing import GRID, INK, footer_in, legend_above, quiet, shortened, write_footer

COLORS = {"train": "#87919C", "valid": "#A09020", "test": INK}
TITLES = {"train": "training", "valid": "validation", "test": "test", "guard": "guard or gap"}


def plot_split(splits: Mapping[str, Mapping[str, Any]], *, width_in: float, footer: Sequence[str] = ()) -> Figure:
    """Draw one strip a session, in minutes; what no colour covers is guard or was not recorded.

    Args:
        splits: by session, lists of [start, end] in seconds under `train`, `valid` and `test`.
        footer: lines written under the drawing, for a picture that stands alone.
    """
    row_in = 0.3
    foot_in = 0.5 + footer_in(footer)
    height_in = 0.42 + row_in * len(splits) + foot_in
    figure = Figure(figsize=(width_in, height_in))
    longest = max(len(session) for session in splits)
    names_in = min(0.086 * longest + 0.2, width_in * 0.35)
    axes = figure.add_axes(
        (names_in / width_in, foot_in / height_in, 1 - (names_in + 0.12) / width_in, row_in * len(splits) / height_in)
    )
    quiet(axes)
    for y, split in enumerate(splits.values()):
        edges = [edge for kind in COLORS for piece in split.get(kind, []) for edge in piece]
        if edges:
            axes.broken_barh([(min(edges) / 60, (max(edges) - min(edges)) / 60)], (y - 0.3, 0.6), facecolor=GRID)
        for kind, color in COLORS.items():
            pieces = [(start / 60, (end - start) / 60) for start, end in split.get(kind, [])]
            axes.broken_barh(pieces, (y - 0.3, 0.6), facecolor=color, lw=0)
    axes.set(ylim=(len(splits) - 0.5, -0.5), yticks=range(len(splits)), xlabel="time in the session (min)")
    names = [shortened(session, room_in=names_in - 0.12, fontsize=9.5) for session in splits]
    axes.set_yticklabels(names, color=INK)
    axes.margins(x=0)
    kinds = {**COLORS, "guard": GRID}
    legend_above(figure, [Patch(color=color) for color in kinds.values()], [TITLES[kind] for kind in kinds])
    write_footer(figure, footer)
    return figure

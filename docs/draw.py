"""Draw the pictures of the pages on concepts from the simulator and from the package's own objects.

make figures        # docs/draw.py docs/figures
"""

import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from spikefield.objectives.masking import hide_tokens
from spikefield.recordings.simulator import SimulatorConfig, simulate_session
from spikefield.recordings.simulator.corpus import SimulatedSession
from spikefield.report.drawing import GRID, INK, MUTED, PAPER, write_png
from spikefield.windows.binned import BinningConfig, bin_session
from spikefield.windows.splits import Split, SplitConfig, blocked_split, shuffled_split

TRAIN, VALID, TEST, NONE = "#3b6ea8", "#e0b04c", "#c1553b", "#e9ebee"
_SHOWN_S = (20.0, 26.0)
_PATCH = 16


def signals(session: SimulatedSession, width_in: float, _footer: object) -> Figure:
    """Spikes, field and hand of a few seconds."""
    figure = Figure(figsize=(width_in, 4.6), layout="constrained")
    spikes, lfp, hand = figure.subplots(3, 1, sharex=True, height_ratios=(2, 2, 1))
    given = session.arrays
    shown = slice(*(round(t * given["lfp_rate_hz"]) for t in _SHOWN_S))
    times, units = np.asarray(given["spike_times"]), np.asarray(given["spike_units"])
    inside = (times >= _SHOWN_S[0]) & (times < _SHOWN_S[1])
    spikes.plot(times[inside], units[inside], "|", color=INK, markersize=2.2, markeredgewidth=0.6)
    spikes.set(title="spikes", ylabel="unit")
    seconds = np.arange(shown.start, shown.stop) / given["lfp_rate_hz"]
    for row, channel in enumerate(range(0, 40, 5)):
        lfp.plot(seconds, given["lfp"][shown, channel] + 300 * row, color=TRAIN, linewidth=0.6)
    lfp.set(title="field potential, 8 of its channels", yticks=(), ylabel="300 µV apart")
    rate_hz = given["behavior_rate_hz"]
    moved = slice(*(round(t * rate_hz) for t in _SHOWN_S))
    for column, (name, color) in enumerate(zip(given["behavior_names"], (TEST, VALID), strict=True)):
        hand.plot(np.arange(moved.start, moved.stop) / rate_hz, given["behavior"][moved, column], color=color)
        hand.annotate(name, (0.97, 0.85 - 0.28 * column), xycoords="axes fraction", color=color)
    hand.set(title="hand velocity", ylabel="cm/s", xlabel="seconds", xlim=_SHOWN_S)
    return figure


def tokens(session: SimulatedSession, width_in: float, _footer: object) -> Figure:
    """Counts of one second on bins of 20 ms, cut into patches; one token is one bin of one patch."""
    binned = bin_session(session.to_data(), config=BinningConfig(bin_width_ms=20.0))
    counts = np.asarray(binned.require("spikes"))[1000:1050].T
    figure = Figure(figsize=(width_in, 4.2), layout="constrained")
    axes = figure.subplots()
    n_units, n_bins = counts.shape
    picture = axes.imshow(counts, aspect="auto", cmap="Greys", vmin=0, vmax=4, origin="lower", interpolation="nearest")
    figure.colorbar(picture, ax=axes, label="spikes in the bin", ticks=range(5), shrink=0.6)
    for edge in range(0, n_units + _PATCH, _PATCH):
        axes.axhline(edge - 0.5, color=TRAIN, linewidth=1.2)
    axes.add_patch(_frame(24, _PATCH))
    axes.annotate(
        f"one token: one bin, one patch of {_PATCH} units", (24.5, 1.5 * _PATCH), (14, n_units + 3), color=TEST,
        arrowprops={"arrowstyle": "-", "color": TEST}, annotation_clip=False,
    )  # fmt: skip
    padded = -n_units % _PATCH
    axes.set(xlabel="bins of 20 ms", ylabel="unit", ylim=(-0.5, n_units + padded + 5), xlim=(-0.5, n_bins - 0.5))
    axes.axhspan(n_units - 0.5, n_units + padded - 0.5, color=NONE, zorder=0)
    axes.set_title(f"{n_units} units in {-(-n_units // _PATCH)} patches, the last padded by {padded}")
    return figure


def _frame(column: int, height: int) -> FancyBboxPatch:
    corner = (column - 0.5, height - 0.5)
    return FancyBboxPatch(corner, 1, height, boxstyle="square,pad=0", fill=False, edgecolor=TEST, linewidth=1.6)


def masking(width_in: float, _footer: object) -> Figure:
    """The tokens that one window shows to the encoder, drawn by the code that trains."""
    n_bins, n_patches, mask_ratio = 50, 6, 0.6
    chosen = hide_tokens(
        torch.ones(1, n_bins * n_patches, dtype=torch.bool),
        mask_ratio=mask_ratio,
        generator=torch.Generator().manual_seed(0),
    )
    visible = chosen.visible.view(n_bins, n_patches).T.numpy()
    figure = Figure(figsize=(width_in, 2.0), layout="constrained")
    axes = figure.subplots()
    axes.pcolormesh(visible, cmap=ListedColormap([NONE, TRAIN]), edgecolors="white", linewidth=0.8)
    axes.set(xlabel="bin", ylabel="patch", yticks=np.arange(n_patches) + 0.5, yticklabels=range(n_patches))
    axes.set_title(f"{visible.sum()} of {visible.size} tokens go into the encoder (blue); the others are predicted")
    return figure


def splits(width_in: float, _footer: object) -> Figure:
    """The split that is scored here, and the published one, for ten minutes of bins of 20 ms."""
    segment = np.zeros(30_000, int)
    ours = blocked_split(segment, config=SplitConfig(), bin_width_ms=20.0, reach_s=5.0, session_id="drawn")
    published = shuffled_split(segment, bin_width_ms=20.0, session_id="drawn")
    figure = Figure(figsize=(width_in, 2.3), layout="constrained")
    axes = figure.subplots()
    for row, split in enumerate((published, ours)):
        _bar(axes, split, row, bin_s=0.02)
    axes.set(yticks=(0, 1), yticklabels=("published:\nit leaks", "blocks"), xlabel="seconds", xlim=(0, 600))
    for x, (name, color) in enumerate(
        (("training", TRAIN), ("validation", VALID), ("test", TEST), ("guard, used for nothing", NONE))
    ):
        axes.annotate("■ ", (0.02 + 0.2 * x, 1.06), xycoords="axes fraction", color=color if color != NONE else GRID)
        axes.annotate(name, (0.045 + 0.2 * x, 1.06), xycoords="axes fraction", color=INK)
    return figure


def _bar(axes: Axes, split: Split, row: int, *, bin_s: float) -> None:
    kind = np.zeros(len(split.train), int)
    for number, mask in enumerate((split.train, split.valid & ~split.test, split.test), start=1):
        kind[mask] = number
    extent = (0.0, len(kind) * bin_s, row - 0.35, row + 0.35)
    colors = ListedColormap([NONE, TRAIN, VALID, TEST])
    axes.imshow(kind[None], aspect="auto", cmap=colors, vmin=0, vmax=3, extent=extent, interpolation="nearest")
    axes.set_ylim(-0.5, 1.5)


_BOXES = {
    "spikes": (0.0, 0.72, "spike counts", INK),
    "teacher": (0.24, 0.72, "teacher\n(frozen)", INK),
    "teacher_z": (0.48, 0.72, "its z of\neach bin", INK),
    "lfp": (0.0, 0.12, "field potential", TRAIN),
    "student": (0.24, 0.12, "student\n(learns)", TRAIN),
    "student_z": (0.48, 0.12, "its z of\neach bin", TRAIN),
    "alignment": (0.76, 0.72, "1 − cosine", TEST),
    "rebuilt": (0.76, 0.12, "squared error\nof the field", TEST),
}
_ARROWS = (
    ("spikes", "teacher"),
    ("teacher", "teacher_z"),
    ("teacher_z", "alignment"),
    ("lfp", "student"),
    ("student", "student_z"),
    ("student_z", "rebuilt"),
    ("student_z", "alignment"),
)
_BOX = (0.17, 0.26)


def distillation(width_in: float, _footer: object) -> Figure:
    """Where the two terms of the loss come from."""
    figure = Figure(figsize=(width_in, 2.6), layout="constrained")
    axes = figure.subplots()
    axes.axis("off")
    axes.set(xlim=(-0.01, 0.96), ylim=(0.0, 1.05))
    for x, y, text, color in _BOXES.values():
        axes.add_patch(FancyBboxPatch((x, y), *_BOX, boxstyle="round,pad=0.0,rounding_size=0.02", ec=color, fc=PAPER))
        axes.text(x + _BOX[0] / 2, y + _BOX[1] / 2, text, ha="center", va="center", color=color)
    for start, end in _ARROWS:
        _arrow(axes, start, end)
    axes.text(0.845, 0.55, "+", ha="center", va="center", color=MUTED, fontsize=16)
    return figure


def _arrow(axes: Axes, start: str, end: str) -> None:
    (x0, y0, *_), (x1, y1, *_) = _BOXES[start], _BOXES[end]
    tail = (x0 + _BOX[0], y0 + _BOX[1] / 2)
    head = (x1, y1 + _BOX[1] / (2 if y0 == y1 else 4))
    axes.annotate("", head, tail, arrowprops={"arrowstyle": "->", "color": MUTED})


def draw(folder: Path) -> None:
    """Write all pictures of the concepts into a folder."""
    session = simulate_session(SimulatorConfig(n_sessions=1, session_s=60.0), index=0, seed=0)
    drawings = {
        "signals": partial(signals, session),
        "tokens": partial(tokens, session),
        "masking": masking,
        "distillation": distillation,
        "splits": splits,
    }
    for name, drawing in drawings.items():
        write_png(drawing, folder / f"{name}.png")


if __name__ == "__main__":
    draw(Path(sys.argv[1]))

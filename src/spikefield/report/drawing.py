"""What all figures share: sober axes, page colours that follow light and dark, and the way to SVG and PNG.

A figure is drawn once with fixed colours; in its SVG the neutral ones and the two blues of spikes become CSS variables
of the page, so that one drawing is legible on a light and on a dark page. Other model colours are the same on both.
"""

import io
import re
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

import spikefield.files as files

INK, MUTED, GRID, PAPER = "#1c2127", "#5b6571", "#d6dae0", "#fefefd"
BLUE, SKY = "#0072b2", "#2f9ad4"  # the teacher's and ridge-spikes', both lighter on the dark page
_PAGE_COLORS = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    PAPER: "var(--paper)",
    BLUE: "var(--blue)",
    SKY: "var(--sky)",
}

WIDE_IN, NARROW_IN = 7.6, 3.5
_STYLE: dict[Any, Any] = {
    "font.size": 10,
    "font.family": "sans-serif",
    "axes.titlesize": 10.5,
    "axes.labelsize": 10,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "text.color": INK,
    "text.parse_math": False,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "lines.solid_capstyle": "round",
    "svg.fonttype": "none",
    "svg.hashsalt": "spikefield",
    "path.simplify": True,
}

Draw = Callable[[float, Sequence[str]], Figure]  # (width_in, footer lines) -> drawing
_FOOTER_LINE_IN = 0.19
_CHARACTER_EM = 0.65


@contextmanager
def _styled() -> Iterator[None]:
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def to_svg(draw: Draw, *, width_in: float, name: str, alt: str) -> str:
    """Draw at `width_in` and return an `<svg>` element for the page, with `alt` as its text alternative.

    `name` keeps the ids inside the drawing apart from those of the page's other drawings.
    """
    buffer = io.StringIO()
    with _styled(), mpl.rc_context({"svg.hashsalt": name, "svg.id": name}):
        draw(width_in, ()).savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _for_page(buffer.getvalue(), name=name, alt=alt)


def write_png(draw: Draw, path: Path, *, footer: Sequence[str] = (), width_in: float = WIDE_IN) -> None:
    """Draw on a light ground at twice the resolution of the page and write a PNG, whole or not at all.

    `footer` is what a picture that stands alone must say; it is wrapped to the width.
    """
    lines = [line for text in footer for line in textwrap.wrap(text, width=int(width_in * 14.5))]
    buffer = io.BytesIO()
    with _styled():
        draw(width_in, lines).savefig(buffer, format="png", dpi=192, facecolor=PAPER, metadata={"Software": None})
    with files.whole(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def on_page(color: str) -> str:
    """Return a colour as the page writes it: one that differs between light and dark is a CSS variable."""
    return _PAGE_COLORS.get(color.lower(), color)


def _for_page(svg: str, *, name: str, alt: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*|<style .*?</style>\s*|<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(
        r' id="[A-Za-z0-9.]+_\d+"', "", svg
    )  # matplotlib counts from 1 in each drawing; nothing refers to these
    svg = re.sub(r"font: (?:(\d+|bold) )?([\d.]+)px [^;\"]+", _older_font, svg)
    svg = re.sub(r"font-family: [^;\"]+;?", "", svg)  # text takes the font of the page
    for color, variable in _PAGE_COLORS.items():
        svg = svg.replace(color, variable)
    opening, drawing = svg.split(">", 1)
    view = re.search(r'viewBox="[^"]*"', opening)
    assert view is not None
    return f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" {view[0]} role="img" aria-label="{escape(alt)}">{drawing}'


def _older_font(match: re.Match[str]) -> str:
    weight = f"font-weight: {match[1]}; " if match[1] else ""
    return f"{weight}font-size: {match[2]}px"


def direction_colors() -> ListedColormap:
    """Return a cyclic colour map: the hue circle of OKLab at equal chroma, lighter towards red than towards green.

    Colour-blind readers lose the red-green axis; here lightness carries it, so opposite directions never look alike.
    All its colours stand out on white and on near-black.
    """
    hue = np.linspace(-np.pi, np.pi, 256, endpoint=False)
    a, b = np.cos(hue), np.sin(hue)
    return ListedColormap(_oklab_to_rgb(0.66 + 0.10 * a, 0.125 * a, 0.125 * b), name="direction")


def _oklab_to_rgb(lightness: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Convert OKLab (Ottosson 2020) to sRGB, clipped to what a screen can show."""
    cone = np.stack(
        [
            lightness + 0.3963377774 * a + 0.2158037573 * b,
            lightness - 0.1055613458 * a - 0.0638541728 * b,
            lightness - 0.0894841775 * a - 1.2914855480 * b,
        ]
    )
    to_linear = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = np.clip(to_linear @ cone**3, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055).T


def quiet(axes: Axes, *, keep: tuple[str, ...] = ()) -> None:
    """Take spines and ticks away but for those named in `keep`."""
    for side, spine in axes.spines.items():
        spine.set_visible(side in keep)
    axes.tick_params(length=0)


def footer_in(footer: Sequence[str]) -> float:
    """Return the height in inches that the footer's lines take."""
    return _FOOTER_LINE_IN * len(footer) + (0.08 if footer else 0)


def write_footer(figure: Figure, footer: Sequence[str]) -> None:
    """Write lines of small text along the lower edge of a figure."""
    width_in, height_in = figure.get_size_inches()
    for i, line in enumerate(reversed(footer)):
        figure.text(0.08 / width_in, (0.07 + _FOOTER_LINE_IN * i) / height_in, line, fontsize=8.5, color=MUTED)


def legend_above(figure: Figure, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """Put one line of legend along the upper edge of a figure."""
    figure.legend(
        handles,
        labels,
        loc="upper left",
        ncols=len(labels),
        bbox_to_anchor=(0, 1),
        borderaxespad=0.1,
        handlelength=1.4,
        handletextpad=0.4,
        columnspacing=1.0,
        fontsize=10 if figure.get_figwidth() >= WIDE_IN else 9,
    )


def shortened(text: str, *, room_in: float, fontsize: float) -> str:
    """Return `text`, cut with an ellipsis where it would not fit into `room_in`."""
    most = int(room_in * 72 / (fontsize * _CHARACTER_EM))
    return text if len(text) <= most else text[: most - 1] + "…"

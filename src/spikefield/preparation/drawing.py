"""Drawings of the validation page as SVG whose neutral colours are the page's, so that they suit light and dark."""

import io
import re
import warnings
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, MUTED, GRID = "#1c2127", "#5b6571", "#d6dae0"
BLUE, ORANGE = "#0072b2", "#d55e00"
_PAGE_COLORS = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--grid)", BLUE: "var(--blue)"}
_WIDTH_IN = 4.3
_STYLE: dict[Any, Any] = {
    "font.size": 9.5,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "text.color": INK,
    "text.parse_math": False,
    "svg.fonttype": "none",
    "path.simplify": True,
}


def to_svg(draw: Callable[[Axes], None], *, height_in: float, name: str, alt: str) -> Markup:
    """Return one drawing as an `<svg>` element with `alt` as its text alternative; `name` keeps its ids apart."""
    buffer = io.StringIO()
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(_WIDTH_IN, height_in), layout="constrained")
        draw(figure.add_subplot())
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _for_page(buffer.getvalue(), alt)


def _for_page(svg: str, alt: str) -> Markup:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*|<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", svg)  # counted from 1 in each drawing; nothing refers to these
    svg = re.sub(r"(font: [\d.]+px) [^;\"]+", r"\1 system-ui, sans-serif", svg)
    for color, variable in _PAGE_COLORS.items():
        svg = svg.replace(color, variable)
    opening, drawing = svg.split(">", 1)
    view = re.search(r'viewBox="[^"]*"', opening)
    assert view is not None
    head = f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" {view[0]} role="img" aria-label="{escape(alt)}">'
    return Markup(head + drawing)

"""How the site is built: Sphinx reads the pages here, and the reference that `generate.py` writes from the code."""

import re
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

from pygments.lexers.shell import BashLexer

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import generate  # noqa: E402

project = "spikefield"
author = "The spikefield authors"
project_copyright = author
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["generated/*.md"]  # parts of pages
suppress_warnings = ["ref.python"]  # two classes of one name, told apart by their module

html_theme = "furo"
html_title = "spikefield"
html_show_sphinx = False
html_copy_source = False

myst_heading_anchors = 3
default_role = "literal"
add_module_names = False

autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
python_maximum_signature_line_length = 88

_SECTIONS = ("Args:", "Raises:", "Returns:", "Yields:", "Example:", "Examples:")


def indented_as_it_stands(_app: Any, what: str, _name: str, _item: Any, _options: Any, lines: list[str]) -> None:
    """Show indented lines of a docstring literally, except under the headings that Sphinx knows."""
    if what in ("property", "attribute"):
        lines[:1] = [line.replace(": ", " – ") for line in lines[:1]]  # or napoleon takes what comes first for a type
    shown: list[str] = []
    within = ""
    for before, line in pairwise(["", *lines]):
        if line and not line.startswith(" "):
            within = line
        starts = line.startswith("    ") and (not before.strip() or not before.startswith(" "))
        if starts and within.strip() not in _SECTIONS:
            shown += ["", "::", "", line] if not _open(shown) else [line]
        else:
            shown.append(line)
    lines[:] = shown


def _open(shown: list[str]) -> bool:
    """Tell whether a literal block goes on: nothing but blank and indented lines since it began."""
    since = next((line for line in reversed(shown) if line and not line.startswith(" ")), "")
    return since == "::"


def without_empty_patterns(_app: Any, docname: str, source: list[str]) -> None:
    """Drop the patterns of the navigation that match no page yet."""
    if docname == "index":
        lines = source[0].split("\n")
        source[0] = "\n".join(s for s in lines if not re.fullmatch(r"[\w/]+\*", s) or [*HERE.glob(f"{s}.*")])


def left_out(_app: Any, _what: str, _name: str, item: Any, skip: bool, _options: Any) -> bool | None:
    """Leave out the numbered fields of named tuples, which their signature shows."""
    return True if (getattr(item, "__doc__", None) or "").startswith("Alias for field number") else None


def setup(app: Any) -> None:
    """Write the generated pages, and tell Sphinx what to do with docstrings."""
    generate.write(HERE)
    app.add_lexer("console", BashLexer)  # its own lexer takes the line that says why for a prompt
    app.connect("source-read", without_empty_patterns)
    app.connect("autodoc-process-docstring", indented_as_it_stands, priority=400)
    app.connect("autodoc-skip-member", left_out)

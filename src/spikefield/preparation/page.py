"""The validation as one HTML file that needs no network: verdicts, findings and pictures of every session."""

import re
from collections.abc import Sequence
from importlib.resources import files as resource_files
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

import spikefield.files as files
from spikefield.preparation.finding import Finding
from spikefield.preparation.pictures import Picture, draw_pictures
from spikefield.preparation.verdict import USES, Verdict


def write_page(verdicts: Sequence[Verdict], together: Sequence[Finding], path: Path) -> Path:
    """Write the page and return its path.

    Raises:
        InputError: it cannot be written.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["code"] = _code
    template = (resource_files("spikefield.preparation") / "page.html.jinja").read_text(encoding="utf-8")
    text = environment.from_string(template).render(
        verdicts=verdicts,
        together=together,
        uses=list(USES),
        usable=sum(verdict.usable for verdict in verdicts),
        pictures=[_pictures(verdict, i) for i, verdict in enumerate(verdicts)],
    )
    files.write_text(path, text)
    return path


def _code(text: str) -> Markup:
    """Escape a text and set what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _pictures(verdict: Verdict, index: int) -> list[Picture]:
    if verdict.contents is None:
        return []
    marked = {name for f in verdict.of("problem", "warning") if f.stream == "lfp" for name in f.names}
    return draw_pictures(verdict.contents, marked=marked, name=f"s{index}")

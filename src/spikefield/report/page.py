"""The end of the data path: one HTML file that says what an experiment found, on which data and how it was measured."""

import re
from collections.abc import Mapping, Sequence
from importlib.resources import files as resource_files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

import spikefield.files as files
from spikefield.report import sections
from spikefield.report.cautions import short_note
from spikefield.report.drawing import NARROW_IN, WIDE_IN, on_page, to_svg, write_png
from spikefield.report.figures import Picture, all_pictures, r2_words
from spikefield.report.markdown import to_markdown
from spikefield.report.models import look
from spikefield.report.reading import Experiment, read_experiment
from spikefield.report.tables import read_panels
from spikefield.report.verdict import Verdict, judge

STANDALONE = ("r2", "decoded", "curves", "map")


def write_report(out: Path) -> Path:
    """Write `OUT/report.html`, `OUT/figures/*.png` and `OUT/tables/results.md` from what an experiment left in `out`.

    The page is one file that needs no network. What the experiment did not leave is named on the page instead.

    Raises:
        InputError: `out` holds no results, a file in it cannot be read, or it cannot be written.
    """
    out = Path(out)
    experiment = read_experiment(out)
    verdict = judge(experiment.results, experiment.run)
    panels = read_panels(experiment.results)
    pictures = all_pictures(experiment, panels)
    words = {"r2": r2_words(panels, with_ceiling=bool(experiment.run.get("ceiling_r2")))}
    for name in STANDALONE:
        _write_figure(pictures[name], out / "figures" / f"{name}.png", words.get(name, ()), verdict)
    markdown = to_markdown(experiment.results, sentence=verdict.sentence, cautions=verdict.cautions)
    files.write_text(out / "tables" / "results.md", markdown)
    files.write_text(out / "report.html", _page(experiment, verdict, pictures))
    return out / "report.html"


def _write_figure(picture: Picture, path: Path, words: Sequence[str], verdict: Verdict) -> None:
    if picture.draw is None:
        path.unlink(missing_ok=True)
        return
    lines = [" ".join(words), short_note(verdict.cautions)]
    write_png(picture.draw, path, footer=[line for line in lines if line])


def _page(experiment: Experiment, verdict: Verdict, pictures: Mapping[str, Picture]) -> str:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals |= {"look": look, "on_page": on_page, "minus": minus, "short_note": short_note}
    environment.filters["unbroken"] = unbroken
    template = (resource_files("spikefield.report") / "page.html.jinja").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        verdict=verdict,
        pictures=pictures,
        drawings={name: _drawings(picture) for name, picture in pictures.items()},
        **_content(experiment, verdict),
    )


def minus(text: str) -> str:
    """Write the minus of negative numbers as a minus, not as a hyphen; names keep their hyphens."""
    return re.sub(r"(?<![\w.-])-(?=\d)", "−", text)


def unbroken(text: str) -> Markup:
    """Escape a text and keep hyphened names, and R² with its number, on one line."""
    return Markup(re.sub(r"\w+(?:-\w+)+|R² [−\d.]*\d", r'<span class="keep">\g<0></span>', str(escape(text))))


def _drawings(picture: Picture) -> dict[str, Markup]:
    """Draw for a desk and for a phone; the page shows the one that fits."""
    if picture.draw is None:
        return {}
    widths = {"wide": WIDE_IN, "narrow": NARROW_IN}
    return {
        size: Markup(to_svg(picture.draw, width_in=width_in, name=f"{picture.name}-{size}", alt=picture.alt))
        for size, width_in in widths.items()
    }


def _content(experiment: Experiment, verdict: Verdict) -> dict[str, Any]:
    run = experiment.run
    return {
        "name": Path(str(run.get("data", {}).get("folder", experiment.folder))).name,
        "version": str(run.get("spikefield", "unknown")),
        "facts": sections.facts(experiment),
        "models": sections.models(experiment.results),
        "sessions": sections.sessions(experiment),
        "comparisons": sections.comparisons(verdict),
        "main_table": sections.main_table(experiment.results),
        "session_tables": sections.session_tables(experiment.results),
        "over_sessions": sections.over_sessions(experiment.results),
        "measured": sections.measured(run),
        "chosen": [str(line) for line in run.get("chosen", [])],
        "split_table": sections.split_table(experiment),
        "command": str(run.get("command", "not recorded")),
        "versions": sections.pairs({"spikefield": run.get("spikefield"), **run.get("versions", {})}),
        "hardware": sections.pairs(run.get("hardware", {})),
        "stages": sections.stages(run.get("stages", [])),
    }

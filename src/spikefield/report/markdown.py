"""The result tables as Markdown, for `OUT/tables/results.md` and whoever pastes them elsewhere."""

from collections.abc import Sequence

import pandas as pd

from spikefield.report.cautions import Caution, short_note
from spikefield.report.tables import over_sessions_table, panel_table, read_panels, session_table, summary


def to_markdown(results: pd.DataFrame, *, sentence: str, cautions: Sequence[Caution] = ()) -> str:
    """Write the opening sentence, the cautions and every table; each table carries the cautions in short.

    Args:
        results: tidy results, as in `results.csv`.
        sentence: what the report says first.
        cautions: what a reader must know before believing a score.
    """
    panels, table = read_panels(results), summary(results)
    warnings = [f"- **{_cell(caution.text)}**" for caution in cautions]
    parts = ["# Results", _cell(sentence), "\n".join(warnings)]
    parts += ["R² on test time, mean over sessions [95 % interval over seeds].", _note(cautions)]
    parts.append(markdown_table(panel_table(panels)))
    if len(rows := over_sessions_table(panels)) > 1:
        parts += ["## Over sessions", "R², mean over sessions [95 % interval over sessions, seeds averaged first]."]
        parts += [_note(cautions), markdown_table(rows)]
    for session in dict.fromkeys(table.loc[table["over"] == "seeds", "session"]):
        parts += [f"## {_cell(session)}", "R² on test time, mean [95 % interval over seeds]."]
        parts += [_note(cautions, session=session), markdown_table(session_table(table, session))]
    return "\n\n".join(part for part in parts if part) + "\n"


def _note(cautions: Sequence[Caution], *, session: str | None = None) -> str:
    note = short_note(cautions, session=session)
    return f"**{_cell(note)}**" if note else ""


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Write rows, header first, as a Markdown table."""
    lines = ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    lines.insert(1, "|---" * len(rows[0]) + "|")
    return "\n".join(lines)


def _cell(text: str) -> str:
    for character, escaped in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("*", "\\*"), ("_", "\\_")):
        text = text.replace(character, escaped)
    return " ".join(text.split())

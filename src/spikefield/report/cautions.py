"""What a reader must know before believing a score: a leak, too few seeds, a null above zero, a session's own trap."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from spikefield.report.tables import STUDENT, check_results, number

FEWEST_SEEDS = 3
NULL_HIGH = 0.05
_NULL_LOW = -0.2


@dataclass(frozen=True)
class Caution:
    """A warning: the whole of it for the top of the page, and the few words that every table carries."""

    text: str
    short: str
    sessions: tuple[str, ...] = ()  # which sessions it concerns; empty for all


def find_cautions(results: pd.DataFrame, run: Mapping[str, Any]) -> list[Caution]:
    """List what must be said on the face of every table of this experiment.

    Args:
        results: tidy results, as in `results.csv`.
        run: the content of `run.json`.
    """
    results = check_results(results)
    scores = results[results["metric"] == "r2"]
    found = [*_of_split(run), *_of_seeds(scores), *_of_null(scores), *_of_sessions(run), *_of_missing(results)]
    every = set(results["session"])
    return [replace(caution, sessions=()) if every <= set(caution.sessions) else caution for caution in found]


def short_note(cautions: Sequence[Caution], *, session: str | None = None) -> str:
    """Return the few words for one table; for a session's own table only what concerns it. Empty if nothing does."""
    shown = [c for c in cautions if session is None or not c.sessions or session in c.sessions]
    notes = [c.short if session or not c.sessions else f"{_named(c.sessions)}: {c.short}" for c in shown]
    return f"Caution: {'; '.join(notes)}." if notes else ""


def _named(sessions: Sequence[str]) -> str:
    return ", ".join(sessions) if len(sessions) <= 4 else f"{len(sessions)} sessions"


def _of_split(run: Mapping[str, Any]) -> list[Caution]:
    if not run.get("leaks"):
        return []
    protocol = run.get("protocol", "unknown")
    text = f"The split leaks (protocol “{protocol}”): test data reached training, so every score here is too high."
    return [Caution(text, "the split leaks, scores are too high")]


def _of_seeds(scores: pd.DataFrame) -> list[Caution]:
    students = scores[scores["model"] == STUDENT]
    seeds = (students if len(students) else scores)["seed"].nunique()
    if seeds >= FEWEST_SEEDS:
        return []
    if seeds < 2:
        return [Caution("One seed: no interval can be given, and another seed may change the order.", "one seed")]
    return [Caution(f"Only {seeds} seeds: the intervals are wide. Run at least three.", f"only {seeds} seeds")]


def _of_null(scores: pd.DataFrame) -> list[Caution]:
    null = scores[scores["model"] == "null"].groupby("session")["value"].mean()
    if null.empty:
        return [Caution("No null was run: how much of each score is chance is not known.", "no null was run")]
    high, low = null[null > NULL_HIGH], null[null < _NULL_LOW]
    found = []
    if len(high):
        text = (
            f"The null is not near zero ({_listed(high)}): that part of every score comes from time or trials alone. "
            "Read the excess over the null."
        )
        found.append(Caution(text, "the null is above zero", tuple(map(str, high.index))))
    if len(low):
        text = f"The null is far below zero ({_listed(low)}): test time is short, or unlike training time."
        found.append(Caution(text, "the null is far below zero", tuple(map(str, low.index))))
    return found


def _listed(values: pd.Series) -> str:
    return ", ".join(f"{session} {number(float(value))}" for session, value in values.items())


def _of_sessions(run: Mapping[str, Any]) -> list[Caution]:
    by_text: dict[str, list[str]] = {}
    for session in run.get("data", {}).get("sessions", []):
        if session.get("caution"):
            text = " ".join(str(session["caution"]).split()).rstrip(".")
            by_text.setdefault(text, []).append(str(session["session"]))
    return [Caution(f"In {', '.join(names)}: {text}.", text, tuple(names)) for text, names in by_text.items()]


def _of_missing(results: pd.DataFrame) -> list[Caution]:
    missing = results[~np.isfinite(results["value"])]
    if missing.empty:
        return []
    text = f"{len(missing)} of {len(results)} scores could not be computed and are left out."
    return [Caution(text, "some scores are missing", tuple(dict.fromkeys(missing["session"])))]

"""The tables and paragraphs of the page as plain rows of text, header first; the template only lays them out."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from spikefield.report.figures import minutes_of
from spikefield.report.models import in_order, look
from spikefield.report.reading import Experiment
from spikefield.report.tables import (
    STUDENT,
    number,
    over_sessions_table,
    panel_table,
    panel_title,
    read_panels,
    session_table,
    summary,
    with_interval,
)
from spikefield.report.verdict import Comparison, Verdict

Rows = list[list[str]]

_FINDINGS = {
    "higher": "higher",
    "lower": "lower",
    "not clear": "no clear difference",
    "one seed": "one seed, not tested",
}


def facts(experiment: Experiment) -> list[str]:
    """Say in a few words how much was measured: sessions, subjects, seeds, protocol."""
    described = experiment.sessions
    subjects = {str(session.get("subject")) for session in described}
    seeds = experiment.run.get("seeds", [])
    found = [_count(len(described) or experiment.results["session"].nunique(), "session")]
    if described:
        found += [_count(len(subjects), "subject"), f"{number(sum(float(s['minutes']) for s in described), 0)} minutes"]
    found.append(_count(len(seeds) or experiment.results["seed"].nunique(), "seed"))
    return [*found, f"{experiment.run.get('protocol', 'unknown')} split"]


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


_READS = {
    "field potential": "Reads the field potential; trained",
    "spikes": "Reads spikes; trained",
    "both": "Reads spikes and field potential; trained",
    "unknown": "What it reads is not known; trained",
    "chance": "Fitted",
}


def models(results: pd.DataFrame) -> list[dict[str, str]]:
    """Describe each model: what it is, what it reads and on which sessions it was trained."""
    every = set(results["session"])
    found = []
    for model in in_order(results["model"].unique()):
        on = _trained_on(list(dict.fromkeys(results.loc[results["model"] == model, "trained_on"])), every)
        about = look(model).about or "A model that this report does not know."
        found.append({"model": model, "about": about, "how": f"{_READS[look(model).reads]} on {on}."})
    return found


def _trained_on(sets: Sequence[str], every: set[str]) -> str:
    several = [one.split(";") for one in sets]
    if len(several) > 1 and all(len(one) == 1 for one in several):
        return "each session alone"
    names = [f"all {len(one)} sessions" if len(one) > 1 and set(one) >= every else ", ".join(one) for one in several]
    return "; or on ".join(names)


def sessions(experiment: Experiment) -> Rows:
    """List the recordings: who, how long, how many units and channels, which behaviour, in which bins."""
    rows = [["session", "subject", "minutes", "units", "channels", "behaviour", "bin", "window"]]
    for session in experiment.sessions:
        rows.append(
            [
                str(session["session"]),
                str(session.get("subject", "–")),
                number(float(session["minutes"]), 1),
                _or_dash(session.get("units")),
                _or_dash(session.get("channels")),
                ", ".join(map(str, session.get("behavior") or [])) or "–",
                f"{session['bin_width_ms']:g} ms" if session.get("bin_width_ms") else "–",
                f"{session['window_s']:g} s" if session.get("window_s") else "–",
            ]
        )
    return rows


def _or_dash(value: Any) -> str:
    return "–" if value is None else str(value)


def comparisons(verdict: Verdict) -> Rows:
    """List what the opening sentence rests on: student minus rival, a column for own and other sessions."""
    titles = list(dict.fromkeys(panel_title(c.panel) for c in verdict.comparisons))
    found = {(c.rival, panel_title(c.panel)): _compared(c) for c in verdict.comparisons}
    rivals = dict.fromkeys(c.rival for c in verdict.comparisons)
    return [["against", *titles], *([rival, *(found.get((rival, t), "–") for t in titles)] for rival in rivals)]


def _compared(comparison: Comparison) -> str:
    above = f" (above in {comparison.sessions_higher} of {comparison.sessions})" if comparison.sessions > 1 else ""
    return f"{with_interval(comparison.difference, signed=True)}: {_FINDINGS[comparison.finding]}{above}"


def main_table(results: pd.DataFrame) -> Rows:
    """Return mean R² with interval over seeds, a column for own and other sessions."""
    return panel_table(read_panels(results))


def session_tables(results: pd.DataFrame) -> dict[str, Rows]:
    """Return one table a session: every model, every behaviour dim."""
    table = summary(results)
    return {session: session_table(table, session) for session in dict.fromkeys(results["session"])}


def over_sessions(results: pd.DataFrame) -> Rows:
    """Return the same means with the interval over sessions; empty where there is but one session to a panel."""
    rows = over_sessions_table(read_panels(results))
    return rows if len(rows) > 1 else []


def measured(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Say how the numbers came about: split, statistics, readout, score, null, interval."""
    if run.get("leaks"):
        split = (
            f"Protocol “{run.get('protocol')}”: neighbouring windows fall on both sides of the split, and statistics "
            "see test data. It leaks; it is here only so that published numbers can be compared."
        )
    else:
        split = (
            "Each session is cut into contiguous blocks of time, with a guard gap at every border. Filters, scaling "
            "and unit selection were fitted on training time only."
        )
    return [
        ("Split", split),
        ("Readout", _READOUT),
        ("Score", "R², one minus squared error over variance, on test time, for each behaviour dim; r2 is their mean."),
        ("Null", _NULL),
        ("Interval", _INTERVAL),
        ("Own and other", _OWN),
    ]


_READOUT = (
    "Networks never saw behaviour. They were frozen, and a ridge regression from their representation of each time bin "
    "to behaviour was fitted on training time, its penalty chosen inside training time."
)
_NULL = (
    "The same readout asked for behaviour shifted in time within its block (permuted over trials where there are "
    "trials). It knows nothing of the moment, so what it scores is chance. “Above null” is a model's R² less the "
    "null's; a null below zero counts as zero."
)
_INTERVAL = (
    "95 % Student t interval over seeds: how far the number moves when training is repeated. It does not say how far "
    "it would move with another animal. A difference is called higher or lower only where its interval leaves zero "
    "out and every session agrees, or the paired interval over sessions leaves zero out as well."
)
_OWN = (
    f"Own sessions are those that {STUDENT} was distilled on. On other sessions it was run with no further training; "
    "the other models are shown on the same sessions, which they were trained on unless the table says no."
)


def split_table(experiment: Experiment) -> Rows:
    """List how long each part of each session is and how wide its guard."""
    rows = [["session", "training", "validation", "test", "guard", "test bins"]]
    tested = experiment.results.groupby("session")["n_test"].max()
    for session, split in experiment.splits.items():
        parts = [f"{number(minutes_of(split, kind), 1)} min" for kind in ("train", "valid", "test")]
        guard = f"{split.get('guard_bins', 0) * split.get('bin_width_ms', 0) / 1000:g} s"
        rows.append([session, *parts, guard, number(float(tested.get(session, float("nan"))), 0)])
    return rows


def pairs(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Write names and values as text, `cpu_model` as `cpu model`; what is None is left out."""
    return [(str(name).replace("_", " "), str(value)) for name, value in values.items() if value is not None]


def stages(records: Sequence[Mapping[str, Any]]) -> Rows:
    """List what each stage took: seeds, seconds each and together, peak memory."""
    if not records:
        return []
    table = pd.DataFrame(records)
    rows = [["stage", "model", "runs", "seconds a run", "seconds", "peak memory"]]
    for (stage, model), group in table.groupby(["stage", "model"], sort=False, dropna=False):
        seconds = group["seconds"].astype(float)
        runs = str(len(group))
        rows.append([str(stage), str(model), runs, number(seconds.mean(), 0), number(seconds.sum(), 0), _memory(group)])
    rows.append(["all", "", str(len(table)), "", number(table["seconds"].astype(float).sum(), 0), _memory(table)])
    return rows


def _memory(group: pd.DataFrame) -> str:
    peak = pd.to_numeric(group["peak_memory_mb"]).max() if "peak_memory_mb" in group else float("nan")
    return f"{number(float(peak), 0)} MB" if pd.notna(peak) else "–"

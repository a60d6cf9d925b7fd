"""Check every ordering that the paper reports, on a simulated corpus of 12 sessions, two subjects, three held out.

    python benchmarks/orderings.py --out OUT [--seeds 0 1 2] [--minutes 5]

Makes the corpus, runs `spikefield reproduce orderings`, which says how long it takes, and holds the results against the
paper. Writes OUT/orderings-simulator/orderings.md; the last line is JSON. A run that was stopped goes on.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import spikefield.files as files
from spikefield.evaluation.statistics import Interval, bootstrap_interval
from spikefield.experiments.commands import simulate
from spikefield.report.comparison import read_series_results
from spikefield.report.markdown import markdown_table
from spikefield.report.tables import number

HELD_OUT = ("sim-a-05", "sim-a-06", "sim-b-06")
Scores = dict[str, pd.DataFrame]


@dataclass(frozen=True)
class Ordering:
    """One claim: what is compared, what the paper says, and the least value with which it holds."""

    claim: str
    published: str
    least: float
    measure: Callable[[pd.DataFrame], Interval]


def scores(results: pd.DataFrame, variant: str, model: str, tested_on: str | None = None) -> pd.DataFrame:
    """Return R², a row a session and a column a seed."""
    rows = results[(results["variant"] == variant) & (results["model"] == model) & (results["metric"] == "r2")]
    if tested_on is not None:
        rows = rows[rows["tested_on"] == tested_on]
    return rows.pivot_table(index="session", columns="seed", values="value")


def above(first: pd.DataFrame, second: pd.DataFrame) -> Interval:
    """Return the difference over the sessions and seeds that both were scored on."""
    return _interval((first - second).dropna(how="all"))


def times(first: pd.DataFrame, second: pd.DataFrame) -> Interval:
    """Return the ratio over the sessions and seeds that both were scored on."""
    return _interval((first / second).dropna(how="all"))


def least_above(first: pd.DataFrame, second: pd.DataFrame) -> Interval:
    """Return the smallest difference of any session, with the interval over its seeds."""
    difference = (first - second).dropna(how="all")
    return _interval(difference.loc[[difference.mean(axis=1).idxmin()]])


def _interval(table: pd.DataFrame) -> Interval:
    return bootstrap_interval(table.to_numpy(np.float64), generator=np.random.default_rng(0))


def held_out(results: pd.DataFrame, model: str) -> pd.DataFrame:
    """Return a model's R² on the sessions that pretraining did not see, each in the experiment that distils on it."""
    sessions = scores(results, "held-out", "distilled", "own").index
    return scores(results, "held-out", model, "own").loc[sessions]


ORDERINGS = (
    Ordering("distilled − teacher, held-out sessions", "+0.02", 0.0,
             lambda r: above(held_out(r, "distilled"), held_out(r, "teacher"))),
    Ordering("distilled / ms-lfp, held-out sessions", "2.6", 1.5,
             lambda r: times(held_out(r, "distilled"), held_out(r, "ms-lfp"))),
    Ordering("ms-lfp − ss-lfp, held-out sessions", "+0.03", 0.0,
             lambda r: above(held_out(r, "ms-lfp"), held_out(r, "ss-lfp"))),
    Ordering("distilled − ms-lfp, the worst session that it was carried to", "above 0 on 27 of 27", 0.0,
             lambda r: least_above(scores(r, "on-one", "distilled", "other"), scores(r, "held-out", "ms-lfp"))),
    Ordering("student of a tenth / full student", "above every LFP baseline", 0.97,
             lambda r: times(scores(r, "tenth", "distilled"), scores(r, "on-one", "distilled"))),
    Ordering("ms-lfp − student without alignment", "collapses", 0.0,
             lambda r: above(scores(r, "held-out", "ms-lfp"), scores(r, "no-alignment", "distilled"))),
    Ordering("full student − student without alignment", "collapses", 0.0,
             lambda r: above(scores(r, "on-one", "distilled"), scores(r, "no-alignment", "distilled"))),
    Ordering("frozen − trainable teacher, the student", "above 0", 0.0,
             lambda r: above(scores(r, "on-one", "distilled"), scores(r, "teacher-learns", "distilled"))),
)  # fmt: skip


def held_out_rows(results: pd.DataFrame) -> list[list[str]]:
    """Return each model's R² on the held-out sessions, header first."""
    models = ("distilled", "teacher", "ms-lfp", "ss-lfp")
    found = {model: _interval(held_out(results, model)) for model in models}
    return [["held-out sessions", "R² [95 %]"], *([model, _cell(interval)] for model, interval in found.items())]


def _cell(found: Interval) -> str:
    return f"{number(found.mean, 3)} [{number(found.low, 3)}, {number(found.high, 3)}]"


def check(results: pd.DataFrame) -> tuple[list[list[str]], dict[str, Any]]:
    """Return the rows of a table, header first, and its numbers."""
    rows = [["ordering", "published", "here [95 %]", "at least", "holds"]]
    numbers: dict[str, Any] = {}
    for ordering in ORDERINGS:
        found = ordering.measure(results)
        holds = (
            "yes" if found.low >= ordering.least else "within the interval" if found.high >= ordering.least else "no"
        )
        rows.append([ordering.claim, ordering.published, _cell(found), f"{ordering.least:g}", holds])
        numbers[ordering.claim] = [round(v, 4) for v in (found.mean, found.low, found.high)]
    return rows, numbers


def main() -> None:
    """Make the corpus, run the series, check it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", nargs="+", default=["0", "1", "2"])
    parser.add_argument("--minutes", type=float, default=5.0, help="length of a session")
    asked = parser.parse_args()
    corpus, series = asked.out / "recordings", asked.out / "orderings-simulator"
    if not corpus.exists():
        simulate(out=corpus, sessions=12, subjects=2, minutes=asked.minutes)
    command = [str(Path(sys.executable).parent / "spikefield"), "reproduce", "orderings", str(corpus)]
    subprocess.run([*command, "--out", str(series), "--held_out", *HELD_OUT, "--seeds", *asked.seeds], check=True)
    results = read_series_results(series)
    rows, numbers = check(results)
    told = markdown_table(rows) + "\n\n" + markdown_table(held_out_rows(results)) + "\n"
    files.write_text(series / "orderings.md", told)
    print(told)
    print(json.dumps(numbers))


if __name__ == "__main__":
    main()

"""From the tidy results of an experiment to means with 95 % intervals: a data frame, rows of text, plain text.

`results.csv` -> `read_panels` (own and other sessions apart) and `summary` (every session) -> page, figures, terminal.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from spikefield.errors import InputError
from spikefield.report.models import in_order

COLUMNS = ("model", "regime", "trained_on", "session", "seed", "metric", "value", "n_test")
STUDENT = "distilled"


class Estimate(NamedTuple):
    """A mean with its 95 % interval; `low` and `high` are NaN where fewer than two values were averaged."""

    mean: float
    low: float
    high: float
    n: int


def t_interval(values: ArrayLike) -> Estimate:
    """Return the mean of `values` (n,) and its 95 % Student t interval, mean ± t(0.975, n - 1) · s / √n."""
    values = np.asarray(values, np.float64)
    n = len(values)
    mean = float(values.mean()) if n else float("nan")
    if n < 2:
        return Estimate(mean, float("nan"), float("nan"), n)
    half = float(stdtrit(n - 1, 0.975) * values.std(ddof=1) / np.sqrt(n))
    return Estimate(mean, mean - half, mean + half, n)


@dataclass(frozen=True)
class Panel:
    """The sessions that are shown together, and every model's R² on them.

    `name` is `own` (the student was distilled on these sessions), `other` (it never saw them), `rest` (no student
    was run on them) or `all` (there is no student).
    """

    name: str
    sessions: tuple[str, ...]
    runs: pd.DataFrame  # model, session, seed, value; one row a run

    def models(self) -> list[str]:
        """Return the models that have a score here, in the order of the report."""
        return in_order(self.runs["model"].unique())

    @cached_property
    def _by_seed(self) -> dict[str, pd.DataFrame]:
        wide = self.runs.pivot_table(index=["model", "seed"], columns="session", values="value", aggfunc="mean")
        return {str(m): table.droplevel("model").dropna(axis=1, how="all") for m, table in wide.groupby(level="model")}

    def by_seed(self, model: str) -> pd.DataFrame:
        """Return the R² of one model, a row a seed and a column a session, seeds that miss a session left out."""
        table = self._by_seed[model]
        complete = table.dropna()
        return complete if len(complete) else table.mean().to_frame().T

    def estimate(self, model: str) -> Estimate:
        """Return the mean over sessions, with the interval over seeds."""
        return t_interval(self.by_seed(model).mean(axis=1))

    def over_sessions(self, model: str) -> Estimate:
        """Return the mean over sessions, with the interval over sessions, seeds averaged first."""
        return t_interval(self.by_seed(model).mean(axis=0))


def check_results(results: pd.DataFrame) -> pd.DataFrame:
    """Return the results with text and numbers where they belong.

    Raises:
        InputError: a column is missing or `value` holds text.
    """
    missing = [c for c in COLUMNS if c not in results.columns]
    if missing:
        raise InputError(
            f"results.csv must have the columns {', '.join(COLUMNS)}, but {missing[0]!r} is missing. "
            "Write it with `spikefield evaluate`."
        )
    text = {c: results[c].fillna("").astype(str) for c in ("model", "regime", "trained_on", "session", "metric")}
    try:
        numbers = {c: pd.to_numeric(results[c]).astype(float) for c in ("seed", "value", "n_test")}
    except (ValueError, TypeError) as error:
        raise InputError(
            f"results.csv must hold numbers in seed, value and n_test ({error}). Mend that row."
        ) from error
    return results.assign(**text, **numbers).assign(seed=numbers["seed"].fillna(-1).astype(int))


def tested_on(results: pd.DataFrame) -> pd.Series:
    """Tell for each row whether its session was trained on (`own`) or never seen by the model (`other`)."""
    pairs = zip(results["trained_on"], results["session"], strict=True)
    return pd.Series(["own" if s in t.split(";") else "other" for t, s in pairs], index=results.index, dtype=str)


def read_panels(results: pd.DataFrame) -> list[Panel]:
    """Put the student's own sessions and the sessions it never saw apart, with every model's R² on them."""
    results = check_results(results)
    rows = results[(results["metric"] == "r2") & results["value"].notna()]
    rows = rows.assign(tested_on=tested_on(rows))
    student = rows[rows["model"] == STUDENT]
    if student.empty:
        return [_panel("all", rows, rows["session"])] if len(rows) else []
    panels = [_panel(n, rows, student.loc[student["tested_on"] == n, "session"]) for n in ("own", "other")]
    panels.append(_panel("rest", rows, rows.loc[~rows["session"].isin(student["session"]), "session"]))
    return [panel for panel in panels if panel.sessions]


def _panel(name: str, rows: pd.DataFrame, sessions: Iterable[str]) -> Panel:
    here = rows[rows["session"].isin(set(sessions))]
    if name in ("own", "other"):
        both = here.groupby(["model", "session"])["tested_on"].transform("nunique") == 2
        wanted = here["tested_on"] == name
        here = here[wanted | ~both & (here["model"] != STUDENT)]
    runs = here[["model", "session", "seed", "value"]].reset_index(drop=True)
    return Panel(name, tuple(dict.fromkeys(runs["session"])), runs)


def summary(results: pd.DataFrame) -> pd.DataFrame:
    """Return mean and 95 % interval: over seeds for each session (`over` = seeds), then over sessions.

    Columns: model, regime, trained_on, tested_on (own | other), session ("" where sessions are averaged), metric,
    mean, low, high, over (seeds | sessions), n (how many values were averaged), n_test (bins).
    """
    results = check_results(results)
    results = results[results["value"].notna()]
    results = results.assign(tested_on=tested_on(results))
    keys = ["model", "regime", "trained_on", "tested_on", "session", "metric"]
    seeds = _estimates(results, keys, "seeds")
    wide = seeds.rename(columns={"mean": "value"})
    sessions = _estimates(wide, ["model", "regime", "tested_on", "metric"], "sessions")
    sessions = sessions[sessions["n"] > 1].assign(session="", trained_on="")
    order = [*keys, "mean", "low", "high", "over", "n", "n_test"]
    return pd.concat([seeds[order], sessions[order]], ignore_index=True)


def _estimates(rows: pd.DataFrame, keys: list[str], over: str) -> pd.DataFrame:
    found = []
    for names, group in rows.groupby(keys, sort=False):
        estimate = t_interval(group["value"])
        cells = dict(zip(keys, names, strict=True))
        found.append({**cells, **estimate._asdict(), "over": over, "n_test": group["n_test"].max()})
    return pd.DataFrame(found, columns=[*keys, *Estimate._fields, "over", "n_test"])


def number(value: float, digits: int = 2, *, signed: bool = False) -> str:
    """Write a number with a fixed count of digits; never minus zero; a dash where there is none."""
    if not np.isfinite(value):
        return "–"
    rounded = round(value, digits) + 0.0  # adding zero turns minus zero into zero
    return f"{rounded:+.{digits}f}" if signed else f"{rounded:.{digits}f}"


def with_interval(estimate: Estimate, *, signed: bool = False) -> str:
    """Write `0.82 [0.79, 0.85]`, or the bare mean where there is no interval."""
    mean = number(estimate.mean, signed=signed)
    if not np.isfinite(estimate.low):
        return mean
    return f"{mean} [{number(estimate.low, signed=signed)}, {number(estimate.high, signed=signed)}]"


_PANEL_TITLES = {"own": "own session", "other": "other session", "rest": "session without student", "all": "session"}


def panel_title(panel: Panel) -> str:
    """Name a panel and its sessions, as in `own session (sim-0)` or `other sessions (3)`."""
    title, count = _PANEL_TITLES[panel.name], len(panel.sessions)
    if count == 1:
        return f"{title} ({panel.sessions[0]})"
    return f"{title.replace('session', 'sessions')} ({count})"


def panel_table(panels: Sequence[Panel]) -> list[list[str]]:
    """Return the main table, header first: a row a model, a column a panel, mean over sessions [95 % over seeds]."""
    return _by_model(panels, Panel.estimate)


def over_sessions_table(panels: Sequence[Panel]) -> list[list[str]]:
    """Return the same means with the interval over sessions; no row where no panel holds two sessions."""
    return _by_model([panel for panel in panels if len(panel.sessions) > 1], Panel.over_sessions)


def _by_model(panels: Sequence[Panel], estimate: Callable[[Panel, str], Estimate]) -> list[list[str]]:
    models = in_order({model for panel in panels for model in panel.models()})
    table = [["model", *(panel_title(p) for p in panels)]]
    for model in models:
        cells = [with_interval(estimate(p, model)) if model in p.models() else "–" for p in panels]
        table.append([model, *cells])
    return table


def session_table(table: pd.DataFrame, session: str) -> list[list[str]]:
    """Return one session's table, header first: a row a model, R², its excess over the null, each behaviour dim.

    The excess is over the model's own null where that was run (`r2_excess`, in recordings with trials), else over the
    session's. A null below zero counts as zero: it gives a model no credit.
    """
    here = table[(table["session"] == session) & (table["over"] == "seeds")]
    scores = here[here["metric"] == "r2"]
    dims = [m for m in dict.fromkeys(here["metric"]) if m.startswith("r2:")]
    null = float(scores.loc[scores["model"] == "null", "mean"].clip(lower=0).mean())
    names = [dim.removeprefix("r2:") for dim in dims]
    rows = [["model", "R²", "above null", *names, "seeds", "test bins", "trained here"]]
    for model in in_order(scores["model"].unique()):
        for _, row in scores[scores["model"] == model].iterrows():
            same = here[(here["model"] == model) & (here["trained_on"] == row["trained_on"])]
            by_dim = same.set_index("metric")["mean"]
            above = float(by_dim.get("r2_excess", row["mean"] - null))
            excess = "–" if model == "null" else number(above, signed=True)
            rows.append(
                [
                    model,
                    with_interval(Estimate(row["mean"], row["low"], row["high"], int(row["n"]))),
                    excess,
                    *(number(float(by_dim.get(d, np.nan))) for d in dims),
                    str(int(row["n"])),
                    number(float(row["n_test"]), 0),
                    "yes" if row["tested_on"] == "own" else "no",
                ]
            )
    return rows


def format_summary(results: pd.DataFrame, *, cautions: Sequence[str] = ()) -> str:
    """Return the main table as plain text for a terminal, with a line that says what the interval is."""
    rows = panel_table(read_panels(results))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    lines.append("R² on test time, mean over sessions [95 % interval over seeds; none where one seed was run].")
    return "\n".join([*lines, *(f"CAUTION: {caution}" for caution in cautions)])

"""A series of experiments in two tables and two figures: every variant's scores, and each against one of them.

`OUT/results.csv` (with its column `variant`) -> `OUT/tables/{summary,comparisons}.{csv,md,tex}`, `OUT/figures/*.png`
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

import spikefield.files as files
from spikefield.evaluation.statistics import bootstrap_interval, paired_comparisons
from spikefield.report.drawing import write_png
from spikefield.report.markdown import markdown_table
from spikefield.report.plot_comparison import plot_series, plot_sessions
from spikefield.report.tables import Estimate, number, tested_on, with_interval

_OF_DECODING = ("r2", "r2_excess", "r2_refitted", "r2_carried", "shift")
METRICS = (*_OF_DECODING, "cka", "cka_debiased", "retrieval", "retrieval_chance")
LEAKS = "LEAKS: the published protocol shuffles neighbouring pieces and fits statistics on test time"
_KEYS = ["panel", "variant", "model", "regime", "metric"]
_SUMMARY = [*_KEYS, "mean", "low", "high", "n_sessions", "n_seeds", "protocol"]
_TEST = ["n_sessions", "difference", "cohens_d", "p", "p_holm"]
_COMPARISON = ["panel", "first", "against", "metric", "n_trained_on", *_TEST, "protocol"]
_INTERVAL = (
    "Mean over sessions of the mean over seeds [95 % bootstrap interval over sessions and seeds]. Sessions: own, those "
    "that the model compared with was trained on; other, those that it never saw; rest, those it was not run on."
)
_TESTED = "Paired over sessions: Wilcoxon's signed-rank test, Holm's correction within a metric and kind of session."


def write_comparison(out: Path, *, title: str, against: str, leaks: bool) -> None:
    """Write tables and figures of the series in `out`; all of them say so where the protocol leaks."""
    results = panelled(read_series_results(out), against=against)
    summary, comparisons = summarise(results), compare(results, against=against)
    title = f"{title}. {LEAKS}" if leaks else title
    for name, table, rows, note in (
        ("summary", summary, _summary_rows(summary), _INTERVAL),
        ("comparisons", comparisons, _comparison_rows(comparisons), _TESTED),
    ):
        files.write_text(out / "tables" / f"{name}.csv", table.to_csv(index=False))
        heading = f"# {title}\n\n{'**LEAKS.** ' if leaks else ''}{note}\n\n"
        files.write_text(out / "tables" / f"{name}.md", heading + markdown_table(rows) + "\n")
        files.write_text(out / "tables" / f"{name}.tex", latex_table(rows, caption=f"{title}. {note}"))
    footer = (title, _INTERVAL)
    (out / "figures").mkdir(parents=True, exist_ok=True)
    write_png(lambda w, f: plot_series(summary, width_in=w, footer=f), out / "figures" / "summary.png", footer=footer)
    scores = by_session(results[results["panel"] != "rest"])
    footer = (title, f"R² of each session, mean over seeds, beside that of {against}.")
    write_png(
        lambda w, f: plot_sessions(scores, against=against, width_in=w, footer=f),
        out / "figures" / "sessions.png",
        footer=footer,
    )


def read_series_results(out: Path) -> pd.DataFrame:
    """Read the merged results of a series, with whether each session was trained on."""
    results = pd.read_csv(out / "results.csv", dtype={"trained_on": str, "variant": str}, keep_default_na=False)
    results["value"] = pd.to_numeric(results["value"], errors="coerce")
    return results.assign(tested_on=tested_on(results))


def panelled(results: pd.DataFrame, *, against: str) -> pd.DataFrame:
    """Put sessions together by what they are to the model that all are compared with (`variant/model`).

    `own`: it was trained on them; `other`: it never saw them; `rest`: it was not run on them. Every model is in every
    panel, whatever it was trained on; one that was scored on a session both trained and not is there by what fits. The
    decoders without a teacher, the same in all variants of a protocol, are there once.
    """
    variant, _, model = against.partition("/")
    of_protocol = results.groupby("protocol")["variant"]
    told = of_protocol.agg(lambda names: variant if (names == variant).any() else names.iloc[0])
    plain = results["regime"].isin(["linear", "classical"])
    results = results[~plain | (results["variant"] == results["protocol"].map(told))]
    reference = results[(results["variant"] == variant) & (results["model"] == model)]
    panels = []
    for kind in ("own", "other"):
        here = results[results["session"].isin(reference.loc[reference["tested_on"] == kind, "session"])]
        both = here.groupby(["variant", "model", "session"])["tested_on"].transform("nunique") == 2
        panels.append(here[(here["tested_on"] == kind) | ~both].assign(panel=kind))
    panels.append(results[~results["session"].isin(reference["session"])].assign(panel="rest"))
    return pd.concat(panels, ignore_index=True)


def summarise(results: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each panel, variant, model, regime and metric."""
    found = []
    for keys, group in results[results["metric"].isin(METRICS)].groupby(_KEYS, sort=False):
        table = group.pivot_table(index="session", columns="seed", values="value", aggfunc="mean")
        if table.empty:
            continue
        interval = bootstrap_interval(table.to_numpy(np.float64), generator=np.random.default_rng(0))
        sizes = {"n_sessions": len(table), "n_seeds": int(table.notna().sum(axis=1).max())}
        estimate = {"mean": interval.mean, "low": interval.low, "high": interval.high}
        found.append(dict(zip(_KEYS, keys, strict=True)) | estimate | sizes | {"protocol": group["protocol"].iloc[0]})
    return pd.DataFrame(found, columns=_SUMMARY)


def by_session(results: pd.DataFrame, metric: str = "r2") -> dict[str, dict[str, float]]:
    """Return `variant/model` -> session -> mean over seeds."""
    rows = results[results["metric"] == metric].dropna(subset="value")
    labels = rows["variant"] + "/" + rows["model"]
    means = rows.assign(label=labels).groupby(["label", "session"], sort=False)["value"].mean()
    found: dict[str, dict[str, float]] = {}
    for (label, session), value in means.items():  # pyright: ignore[reportGeneralTypeIssues]
        found.setdefault(str(label), {})[str(session)] = float(value)
    return found


def compare(results: pd.DataFrame, *, against: str) -> pd.DataFrame:
    """Compare every variant's models with one, over the sessions that both were scored on."""
    rows = results[results["metric"].isin(METRICS) & (results["metric"] != "retrieval_chance")]
    found = []
    for (panel, metric), group in rows.groupby(["panel", "metric"], sort=False):
        seen = group[group["tested_on"] == "own"].groupby(group["variant"] + "/" + group["model"])["session"].nunique()
        scores = by_session(group, str(metric))
        reference = scores.get(against, {})
        shared = {label: s for label, s in scores.items() if reference.keys() & s.keys()}
        for c in paired_comparisons(shared, against=against) if len(shared) > 1 else []:
            numbers = {"difference": c.mean_difference, "cohens_d": c.cohens_d, "p": c.p, "p_holm": c.p_holm}
            labels = {"panel": panel, "first": c.first, "against": against, "metric": metric}
            sizes = {"n_sessions": c.n_sessions, "n_trained_on": int(seen.get(c.first, 0))}
            found.append(labels | numbers | sizes | {"protocol": group["protocol"].iloc[0]})
    return pd.DataFrame(found, columns=_COMPARISON)


def latex_table(rows: Sequence[Sequence[str]], *, caption: str) -> str:
    """Write rows, header first, as a LaTeX table for the package booktabs."""
    lines = [" & ".join(map(_escaped, row)) + r" \\" for row in rows]
    body = [r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"]
    columns = "l" * len(rows[0])
    start = [r"\begin{table}", rf"\caption{{{_escaped(caption)}}}", rf"\begin{{tabular}}{{{columns}}}"]
    return "\n".join([*start, *body, r"\end{tabular}", r"\end{table}"]) + "\n"


def _escaped(text: str) -> str:
    for character in "&%$#_{}":
        text = text.replace(character, f"\\{character}")
    return text.replace("²", "$^2$").replace("λ", r"$\lambda$").replace("–", "--")


def _summary_rows(summary: pd.DataFrame) -> list[list[str]]:
    rows = [["sessions", "variant", "model", "regime", "metric", "mean [95 %]", "n", "seeds", "protocol"]]
    for row in summary.itertuples():
        estimate = Estimate(row.mean, row.low, row.high, row.n_sessions)  # pyright: ignore[reportArgumentType]
        cells = [row.panel, row.variant, row.model, row.regime, row.metric, with_interval(estimate)]
        rows.append([str(cell) for cell in [*cells, row.n_sessions, row.n_seeds, row.protocol]])
    return rows


def _comparison_rows(comparisons: pd.DataFrame) -> list[list[str]]:
    rows = [["sessions", "model", "against", "metric", "difference", "Cohen's d", "p", "p (Holm)", "n", "protocol"]]
    for row in comparisons.to_dict("records"):
        cells = [row["panel"], row["first"], row["against"], row["metric"], number(row["difference"], signed=True)]
        cells += [number(row["cohens_d"]), number(row["p"], 3), number(row["p_holm"], 3), row["n_sessions"]]
        rows.append([str(cell) for cell in [*cells, row["protocol"]]])
    return rows


def format_series(summary: pd.DataFrame) -> str:
    """Return the R² of every variant as plain text for a terminal."""
    rows = [row[:3] + row[4:] for row in _summary_rows(summary[summary["metric"].isin(["r2", "cka", "retrieval"])])]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    leaks = any("LEAKS" in protocol for protocol in summary["protocol"])
    return "\n".join([*([LEAKS] if leaks else []), *lines, _INTERVAL])

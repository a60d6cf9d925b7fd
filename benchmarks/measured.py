"""Put what finished series found into the documentation: one page a series, and its figure.

    python benchmarks/measured.py OUT [OUT ...] --docs docs/measured

OUT is a folder of `spikefield reproduce`; its name becomes the page's. Nothing on such a page is typed by hand.
"""

import argparse
import json
import shutil
from pathlib import Path

import pandas as pd

import spikefield.files as files
from spikefield.report.comparison import LEAKS, panelled, read_series_results, summarise
from spikefield.report.findings import measured
from spikefield.report.markdown import markdown_table
from spikefield.report.tables import Estimate, number, with_interval

SHOWN = ("r2", "r2_refitted", "r2_carried", "shift", "cka", "retrieval", "retrieval_chance")
_HEADER = """<!-- made by `benchmarks/measured.py`; do not edit -->
# {title}

{n_sessions} session(s), {n_seeds} seed(s), protocol {protocol}; mean over sessions of the mean over seeds [95 %
bootstrap interval over sessions and seeds]. *Own*: sessions that the model compared with, {against}, was trained on;
*other*: those that it never saw; *rest*: those it was not run on.

"""


def main() -> None:
    """Write a page for every folder that holds a finished series."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("out", type=Path, nargs="+")
    parser.add_argument("--docs", type=Path, default=Path("docs/measured"))
    asked = parser.parse_args()
    for out in asked.out:
        if not (out / "run.json").is_file():
            print(f"{out}: left out, not a finished series")
            continue
        publish(out, asked.docs)
        print(f"{asked.docs / out.name}.md")


def publish(out: Path, docs: Path) -> None:
    """Write the page of one series, and copy its figure beside it."""
    run = json.loads((out / "run.json").read_text())
    results = panelled(read_series_results(out), against=run["against"])
    summary = summarise(results)
    shown = summary[summary["metric"].isin(SHOWN)]
    text = _HEADER.format(
        title=f"{out.name}: {run['figures']}",
        n_sessions=results["session"].nunique(),
        n_seeds=len(run["seeds"]),
        protocol=", ".join(sorted(set(shown["protocol"]))),
        against=run["against"],
    )
    if any("LEAKS" in protocol for protocol in shown["protocol"]):
        text += f"**{LEAKS}: every row whose protocol says so.**\n\n"
    if (checked := out / "orderings.md").is_file():
        text += checked.read_text() + "\n"
    figure = out / "figures" / f"{run['series']}.png"
    if figure.is_file():
        docs.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(figure, docs / f"{out.name}.png")
        text += f"![{run['figures']}]({out.name}.png)\n\n"
    text += markdown_table(rows_of(shown)) + "\n"
    if results["metric"].str.contains("@").any():
        text += "\n" + markdown_table(varied_rows(results)) + "\n"
    files.write_text(docs / f"{out.name}.md", text)


def rows_of(shown: pd.DataFrame) -> list[list[str]]:
    """Return a table, header first: a row a variant, model and metric, a column a kind of session."""
    panels, variants = (list(dict.fromkeys(shown[column])) for column in ("panel", "variant"))
    shown = shown.sort_values("variant", key=lambda names: names.map(variants.index), kind="stable")
    keys = ["variant", "model", "regime", "metric", "protocol"]
    rows = [[*keys, *panels]]
    for names, group in shown.groupby(keys, sort=False):
        found = {
            row["panel"]: with_interval(Estimate(row["mean"], row["low"], row["high"], row["n_sessions"]))
            for row in group.to_dict("records")
        }
        cells = [found.get(panel, "–") for panel in panels]
        rows.append([*map(str, names), *cells])
    return rows


def varied_rows(results: pd.DataFrame) -> list[list[str]]:
    """Return R² over what a measure varied, header first: mean over sessions and seeds; single channels left out."""
    found = measured(results)
    found = found[found["what"] != "without_channel"]
    means = found.groupby(["panel", "what", "x", "model"], sort=False)["value"].mean().unstack("model")
    rows = [["sessions", "varied", "at", *map(str, means.columns)]]
    for (panel, what, x), values in means.iterrows():  # pyright: ignore[reportGeneralTypeIssues]
        rows.append([str(panel), str(what), f"{x:g}", *(number(value) for value in values)])
    return rows


if __name__ == "__main__":
    main()

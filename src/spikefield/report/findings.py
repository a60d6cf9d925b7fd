"""The one figure of a series that asks what the paper left open: what is drawn, and from which rows.

OUT/results.csv, OUT/run.json (drawing, where each variant lies) -> points and intervals -> OUT/figures/NAME.png
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import spikefield.files as files
from spikefield.errors import InputError
from spikefield.evaluation.statistics import bootstrap_interval
from spikefield.report.comparison import LEAKS, read_series_results
from spikefield.report.drawing import write_png

KINDS = ("curve", "rows", "teachers", "measured", "forecast")
MEASURED = "r2@"
POINT = ["panel", "line", "label", "x", "mean", "low", "high"]
_NOTE = "Points: mean over sessions and seeds; bars: 95 % bootstrap interval over both, none where there is one value."


@dataclass(frozen=True)
class Drawing:
    """How a series is drawn. `models` are shown, `beside` as lines to compare with; `x` names the horizontal axis.

    curve: R² over the number that each variant has (`at`), a line a group of variants (`line`).
    rows: a row a variant and model. teachers: the student's R² over its teacher's.
    measured: R² over what a measure varied, a panel for each thing varied, a line a model.
    forecast: a row a way of using a new session, and R² over what is known of the session without labels.
    """

    kind: str
    x: str = ""
    models: tuple[str, ...] = ("distilled",)
    beside: tuple[str, ...] = ("teacher", "ridge-lfp")
    log: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"`kind` must be one of {', '.join(KINDS)}, got {self.kind!r}. Choose one of them.")


def write_finding(out: Path) -> Path | None:
    """Draw the figure of the series in `out`; None where it has no figure of its own."""
    from spikefield.report import plot_findings

    run = files.read_json(out / "run.json")
    if run.get("drawing") is None:
        return None
    said: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in run["drawing"].items()}
    drawing = Drawing(**said)
    results = read_series_results(out)
    places = pd.DataFrame(run["runs"], columns=["variant", "at", "line"]).drop_duplicates("variant")
    results = results.merge(places, on="variant", how="left")
    path = out / "figures" / f"{run['series']}.png"
    footer = (f"{run['series']} ({run['figures']})" + (f". {LEAKS}" if run["leaks"] else ""), _NOTE)
    draw = plot_findings.PLOTS[drawing.kind]
    write_png(
        lambda width_in, lines: draw(results, drawing, against=run["against"], width_in=width_in, footer=lines),
        path,
        footer=footer,
    )
    return path


def panelled(results: pd.DataFrame, drawing: Drawing, *, against: str) -> pd.DataFrame:
    """Put apart, as column `panel`, the sessions that `against` was trained on and those that no model shown was.

    Sessions that only some of the models shown were trained on are in neither.
    """
    variant, _, model = against.partition("/")
    shown = results[results["model"].isin(drawing.models)]
    reference = shown[(shown["variant"] == variant) & (shown["model"] == model)]
    own = set(reference.loc[reference["tested_on"] == "own", "session"])
    new = set(shown["session"]) - set(shown.loc[shown["tested_on"] == "own", "session"])
    told = results["session"].map(lambda s: "own" if s in own else "new" if s in new else "")
    return results.assign(panel=told)[told != ""]


def points(rows: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Return mean and 95 % interval of `value` over sessions and seeds for each of the keys, in the rows' order."""
    found: list[dict[str, Any]] = []
    for key, group in rows.dropna(subset="value").groupby(list(keys), sort=False, dropna=False):
        table = group.pivot_table(index="session", columns="seed", values="value", aggfunc="mean")
        each = bootstrap_interval(table.to_numpy(np.float64), generator=np.random.default_rng(0))
        named = dict(zip(keys, key if isinstance(key, tuple) else (key,), strict=True))
        found.append(named | {"mean": each.mean, "low": each.low, "high": each.high})
    return pd.DataFrame(found, columns=[*keys, "mean", "low", "high"])


def measured(results: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of measures `r2@what=number`, with the columns `what` and `x`."""
    rows = results[results["metric"].str.startswith(MEASURED)]
    parts = rows["metric"].str.removeprefix(MEASURED).str.rpartition("=")
    return rows.assign(what=parts[0], x=pd.to_numeric(parts[2]).astype(float))

"""The figure of each open question: its points equal plain means, its sessions are those it says, and it is drawn."""

import json

import numpy as np
import pandas as pd
import pytest

from spikefield.errors import InputError
from spikefield.report import plot_findings
from spikefield.report.findings import KINDS, Drawing, measured, panelled, points, write_finding
from spikefield.report.plot_findings import PLOTS

AT = {"a": 1.0, "b": 2.0, "c": 4.0}


def rows(seed=0):
    """Three variants distilled on s0 (c on s0 and s1), scored on s0 to s2, two seeds, with measures."""
    rng = np.random.default_rng(seed)
    found = []
    for variant in AT:
        for model in ("distilled", "teacher", "ridge-lfp"):
            for session in ("s0", "s1", "s2"):
                on = session if model == "ridge-lfp" else "s0;s1" if variant == "c" else "s0"
                for draw in (0, 1):
                    metrics = ["r2", "r2@lag_ms=-20", "r2@lag_ms=20", "r2@below_hz=5"]
                    metrics += ["r2_refitted", "r2_carried", "shift"] if session != "s0" else []
                    for metric in metrics:
                        found.append(
                            {"variant": variant, "model": model, "regime": "unsupervised", "trained_on": on}
                            | {"session": session, "seed": draw, "metric": metric, "value": rng.uniform(0.2, 0.9)}
                            | {"n_test": 100, "protocol": "blocked"}
                        )
    return found


def folder(tmp_path, drawing):
    pd.DataFrame(rows()).to_csv(tmp_path / "results.csv", index=False)
    runs = [{"variant": v, "folder": v, "study": {}, "on": ["s0"], "at": at, "line": "one"} for v, at in AT.items()]
    said = {"series": "own", "figures": "none", "leaks": False, "against": "a/distilled", "runs": runs}
    (tmp_path / "run.json").write_text(json.dumps(said | {"drawing": drawing}))
    return tmp_path


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_drawn(tmp_path, kind):
    path = write_finding(folder(tmp_path, {"kind": kind, "x": "minutes", "log": kind == "curve"}))
    assert path == tmp_path / "figures/own.png" and path.read_bytes()[:4] == b"\x89PNG" and path.stat().st_size > 9000


def test_a_series_without_a_drawing_has_no_figure_of_its_own(tmp_path):
    assert write_finding(folder(tmp_path, None)) is None


def test_sessions_that_only_some_students_saw_are_left_out():
    results = pd.DataFrame(rows())
    own = [s in t.split(";") for s, t in zip(results["session"], results["trained_on"], strict=True)]
    results["tested_on"] = np.where(own, "own", "other")
    found = panelled(results, Drawing("curve"), against="a/distilled")
    assert set(zip(found["panel"], found["session"], strict=True)) == {("own", "s0"), ("new", "s2")}


def test_points_are_means_over_sessions_of_means_over_seeds():
    results = pd.DataFrame(rows())
    results = results[results["metric"] == "r2"]
    for row in points(results, ["variant", "model"]).to_dict("records"):
        chosen = results[(results["variant"] == row["variant"]) & (results["model"] == row["model"])]
        twin = np.mean([np.mean(list(group)) for _, group in chosen.groupby("session")["value"]])
        assert row["mean"] == pytest.approx(twin) and row["low"] < row["mean"] < row["high"]


def test_measures_say_what_was_varied_and_how_far():
    found = measured(pd.DataFrame(rows()))
    assert set(zip(found["what"], found["x"], strict=True)) == {("lag_ms", -20.0), ("lag_ms", 20.0), ("below_hz", 5.0)}


def test_a_curve_goes_through_the_points(tmp_path):
    results = pd.DataFrame(rows())
    own = [s in t.split(";") for s, t in zip(results["session"], results["trained_on"], strict=True)]
    results["tested_on"] = np.where(own, "own", "other")
    results = results.assign(at=results["variant"].map(AT), line="one")
    figure = plot_findings.plot_curve(results, Drawing("curve", x="minutes"), against="a/distilled", width_in=7.6)
    drawn = figure.axes[0].lines[0].get_xydata()
    chosen = results[(results["metric"] == "r2") & (results["model"] == "distilled") & (results["session"] == "s0")]
    twin = [chosen.loc[chosen["variant"] == v, "value"].mean() for v in AT]
    np.testing.assert_allclose(drawn, np.column_stack([list(AT.values()), twin]))


def test_every_kind_has_a_plot_and_others_are_refused():
    assert set(PLOTS) == set(KINDS)
    with pytest.raises(InputError, match="`kind` must be one of curve, rows"):
        Drawing("pie")

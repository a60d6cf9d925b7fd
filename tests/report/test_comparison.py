"""The tables of a series against what was put into its results."""

import numpy as np
import pandas as pd
import pytest

from spikefield.report.comparison import (
    compare,
    format_series,
    latex_table,
    panelled,
    read_series_results,
    summarise,
    write_comparison,
)

SESSIONS = [f"s{i}" for i in range(6)]
MEANS = {("full", "distilled"): 0.8, ("full", "ms-lfp"): 0.5, ("tenth", "distilled"): 0.78}
AGAINST = "full/distilled"


def results(protocol="blocked"):
    generator = np.random.default_rng(0)
    rows = []
    for (variant, model), mean in MEANS.items():
        trained = SESSIONS[:1] if model == "distilled" else SESSIONS
        for i, session in enumerate(SESSIONS):
            for seed in range(3):
                value = mean + 0.01 * i + generator.normal(0, 0.004)
                rows.append(
                    [variant, model, "unsupervised", ";".join(trained), session, seed, "r2", value, 100, protocol]
                )
    for variant in ("full", "tenth"):
        rows += [[variant, "ridge-lfp", "linear", s, s, 0, "r2", 0.7, 100, protocol] for s in SESSIONS]
    columns = ["variant", "model", "regime", "trained_on", "session", "seed", "metric", "value", "n_test", "protocol"]
    return pd.DataFrame(rows, columns=columns)


@pytest.fixture
def out(tmp_path):
    results().to_csv(tmp_path / "results.csv", index=False)
    return tmp_path


def test_every_model_is_in_the_panels_of_the_compared_one(out):
    panels = panelled(read_series_results(out), against=AGAINST)
    held = {key: set(group["session"]) for key, group in panels.groupby(["panel", "model"])}
    for model in ("distilled", "ms-lfp", "ridge-lfp"):
        assert held["own", model] == {"s0"} and held["other", model] == set(SESSIONS[1:])


def test_a_model_scored_both_ways_is_in_each_panel_by_what_fits():
    rows = results().query("variant == 'full' and model == 'distilled'")
    twice = pd.concat([rows, rows.assign(trained_on="s1")], ignore_index=True)  # one student each for s0 and s1
    twice["tested_on"] = [
        "own" if s in t.split(";") else "other" for t, s in zip(twice["trained_on"], twice["session"], strict=True)
    ]
    panels = panelled(twice, against=AGAINST)
    own = panels[panels["panel"] == "own"]
    assert set(own["session"]) == {"s0", "s1"} and (own["tested_on"] == "own").all()
    other = panels[(panels["panel"] == "other")]
    assert set(other["session"]) == set(SESSIONS) and (other["tested_on"] == "other").all()


def test_the_summary_holds_means_over_sessions(out):
    summary = summarise(panelled(read_series_results(out), against=AGAINST)).set_index(["panel", "variant", "model"])
    row = summary.loc[("other", "full", "distilled")]
    values = results().query("variant == 'full' and model == 'distilled' and session != 's0'")["value"]
    assert row["mean"] == pytest.approx(values.mean()) and row["low"] < row["mean"] < row["high"]
    assert (row["n_sessions"], row["n_seeds"]) == (5, 3)


def test_comparisons_are_paired_corrected_and_name_what_was_seen(out):
    table = compare(panelled(read_series_results(out), against=AGAINST), against=AGAINST)
    other = table[table["panel"] == "other"].set_index("first")
    assert set(other.index) == {"full/ms-lfp", "tenth/distilled", "full/ridge-lfp"}  # baselines once
    assert other.loc["full/ms-lfp", "difference"] == pytest.approx(-0.3, abs=0.01)
    assert other.loc["full/ms-lfp", "n_trained_on"] == 5 and other.loc["tenth/distilled", "n_trained_on"] == 0
    assert (other["n_sessions"] == 5).all() and (other["p_holm"] >= other["p"]).all()
    assert other.loc["full/ms-lfp", "p"] == pytest.approx(2 / 2**5)
    assert other.loc["full/ms-lfp", "p_holm"] == pytest.approx(3 * 2 / 2**5)


def test_tables_say_where_they_leak(out):
    write_comparison(out, title="size (Fig. 10)", against=AGAINST, leaks=False)
    for path in (out / "tables").iterdir():
        assert "LEAK" not in path.read_text()
    results("paper (LEAKS)").to_csv(out / "results.csv", index=False)
    write_comparison(out, title="size (Fig. 10)", against=AGAINST, leaks=True)
    for path in (out / "tables").iterdir():
        assert "LEAKS" in path.read_text()
    assert format_series(pd.read_csv(out / "tables/summary.csv")).startswith("LEAKS")


def test_without_the_compared_model_there_is_a_summary_alone(out):
    rows = results()
    rows[rows["variant"] != "full"].to_csv(out / "results.csv", index=False)
    write_comparison(out, title="size", against=AGAINST, leaks=False)
    assert pd.read_csv(out / "tables/comparisons.csv").empty
    assert set(pd.read_csv(out / "tables/summary.csv")["panel"]) == {"rest"}


def test_latex_is_escaped():
    text = latex_table([["a_b", "50 %"], ["R² & λ", "–"]], caption="50 % of #1")
    assert r"a\_b & 50 \% \\" in text and r"R$^2$ \& $\lambda$ & -- \\" in text and r"\caption{50 \% of \#1}" in text

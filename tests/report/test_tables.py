"""Means and intervals equal slow obvious twins; own and other sessions stay apart."""

import math
import statistics

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from fake_out import MEANS, SESSIONS, results_table
from hypothesis import given, settings
from hypothesis import strategies as st

from spikefield.errors import InputError
from spikefield.report.cautions import Caution
from spikefield.report.markdown import markdown_table, to_markdown
from spikefield.report.tables import (
    Estimate,
    format_summary,
    number,
    over_sessions_table,
    panel_table,
    panel_title,
    read_panels,
    session_table,
    summary,
    t_interval,
    with_interval,
)


def test_t_interval_of_three_values_by_hand():
    values = [0.80, 0.82, 0.87]
    half = 4.302652729911275 * statistics.stdev(values) / math.sqrt(3)  # t(0.975, 2) from a printed table
    estimate = t_interval(values)
    assert estimate == pytest.approx((0.83, 0.83 - half, 0.83 + half, 3))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-2, 1), min_size=2, max_size=12).filter(lambda v: max(v) - min(v) > 1e-3))
def test_t_interval_equals_the_t_test_of_scipy(values):
    twin = scipy.stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    estimate = t_interval(values)
    assert (estimate.low, estimate.high) == pytest.approx((twin.low, twin.high), abs=1e-9)


@pytest.mark.parametrize("values", [[], [0.5]])
def test_fewer_than_two_values_have_no_interval(values):
    estimate = t_interval(values)
    assert math.isnan(estimate.low) and math.isnan(estimate.high) and estimate.n == len(values)


def test_own_and_other_sessions_are_apart_and_every_model_is_on_both():
    own, other = read_panels(results_table())
    assert (own.name, own.sessions) == ("own", SESSIONS[:1])
    assert (other.name, other.sessions) == ("other", SESSIONS[1:])
    assert set(own.models()) == set(other.models()) == set(MEANS)


def test_a_panel_averages_sessions_first_and_takes_the_interval_over_seeds():
    results = results_table()
    means = []
    for seed in (0, 1, 2):
        rows = [
            row["value"]
            for row in results.to_dict("records")
            if row["model"] == "distilled"
            and row["metric"] == "r2"
            and row["seed"] == seed
            and row["session"] != "sim-0"
        ]
        assert len(rows) == 3
        means.append(sum(rows) / 3)
    assert read_panels(results)[1].estimate("distilled") == pytest.approx(t_interval(means))


def test_two_students_each_count_as_own_where_they_were_distilled():
    first = results_table(means={"distilled": (0.8, 0.6), "ridge-lfp": (0.7, 0.7)})
    second = first[first["model"] == "distilled"].assign(trained_on="sim-1", value=lambda t: t["value"] - 0.3)
    own, other = read_panels(pd.concat([first, second]))
    assert set(own.sessions) == {"sim-0", "sim-1"} and set(other.sessions) == set(SESSIONS)
    students = (t[(t["metric"] == "r2") & (t["model"] == "distilled")] for t in (first, second))
    of_first, of_second = (student.groupby("session")["value"].mean() for student in students)
    by_session = own.by_seed("distilled").mean()
    assert by_session["sim-0"] == pytest.approx(of_first["sim-0"])
    assert by_session["sim-1"] == pytest.approx(of_second["sim-1"])


def test_sessions_without_student_get_their_own_panel():
    results = results_table()
    spikes_only = results[(results["model"] == "teacher") & (results["session"] == "sim-1")].assign(session="m1")
    panels = read_panels(pd.concat([results, spikes_only]))
    assert [p.name for p in panels] == ["own", "other", "rest"] and panels[2].sessions == ("m1",)


def test_without_student_there_is_one_panel():
    (panel,) = read_panels(results_table(means={"ridge-lfp": (0.7, 0.7)}))
    assert panel.name == "all" and panel_title(panel) == "sessions (4)"


def test_summary_equals_loops_over_rows():
    results, table = results_table(), summary(results_table())
    seeds = table[table["over"] == "seeds"]
    assert len(seeds) == len(MEANS) * len(SESSIONS) * 3
    for _, row in seeds.iterrows():
        values = [
            r["value"]
            for r in results.to_dict("records")
            if all(r[c] == row[c] for c in ("model", "session", "metric", "trained_on"))
        ]
        assert row["mean"] == pytest.approx(sum(values) / len(values)) and row["n"] == len(values) == 3
        assert row["high"] - row["mean"] == pytest.approx(row["mean"] - row["low"])
    over = table[(table["over"] == "sessions") & (table["model"] == "distilled") & (table["metric"] == "r2")]
    means = seeds[(seeds["model"] == "distilled") & (seeds["metric"] == "r2") & (seeds["session"] != "sim-0")]["mean"]
    assert over["tested_on"].tolist() == ["other"] and over["n"].tolist() == [3]
    assert over.iloc[0][["mean", "low", "high"]].tolist() == pytest.approx(list(t_interval(means))[:3])


def test_a_value_that_is_missing_is_left_out_not_averaged():
    results = results_table()
    hole = (results["model"] == "distilled") & (results["session"] == "sim-2") & (results["seed"] == 1)
    results.loc[hole, "value"] = np.nan
    table = summary(results).query("model == 'distilled' and session == 'sim-2' and metric == 'r2'")
    assert table["n"].tolist() == [2]
    assert read_panels(results)[1].estimate("distilled").n == 2


def test_a_missing_column_is_named():
    with pytest.raises(InputError, match="'trained_on' is missing"):
        summary(results_table().drop(columns="trained_on"))


def test_text_for_a_value_is_refused():
    results = results_table().astype({"value": object})
    results.loc[0, "value"] = "high"
    with pytest.raises(InputError, match="must hold numbers"):
        summary(results)


@pytest.mark.parametrize(
    ("value", "written"), [(0.824, "0.82"), (-0.004, "0.00"), (-0.126, "-0.13"), (float("nan"), "–"), (7.0, "7.00")]
)
def test_number(value, written):
    assert number(value) == written


def test_interval_is_written_only_where_there_is_one():
    assert with_interval(Estimate(0.5, 0.4, 0.6, 3)) == "0.50 [0.40, 0.60]"
    assert with_interval(Estimate(0.5, float("nan"), float("nan"), 1)) == "0.50"
    assert with_interval(Estimate(0.5, -0.1, 1.1, 2), signed=True) == "+0.50 [-0.10, +1.10]"


def test_session_table_holds_the_excess_over_the_null():
    table = summary(results_table(means={"distilled": (0.5, 0.5), "null": (0.3, 0.3)}, spread=0.0))
    header, student, null = session_table(table, "sim-1")
    assert header == ["model", "R²", "above null", "hand vx", "hand vy", "seeds", "test bins", "trained here"]
    assert student == ["distilled", "0.48 [0.48, 0.48]", "+0.20", "0.50", "0.46", "3", "2410", "no"]
    assert null[2] == "–"


def test_a_null_below_zero_gives_no_credit():
    table = summary(results_table(means={"distilled": (0.5, 0.5), "null": (-0.9, -0.9)}, spread=0.0))
    assert session_table(table, "sim-0")[1][2] == "+0.50"


def test_tables_put_a_model_in_each_row_and_a_panel_in_each_column():
    panels = read_panels(results_table())
    header, first, *_ = panel_table(panels)
    assert header == ["model", "own session (sim-0)", "other sessions (3)"]
    assert first == ["distilled", *(with_interval(p.estimate("distilled")) for p in panels)]
    assert over_sessions_table(panels)[0] == ["model", "other sessions (3)"]


def test_terminal_table_is_aligned_and_carries_the_cautions():
    lines = format_summary(results_table(), cautions=["One seed."]).splitlines()
    assert lines[-1] == "CAUTION: One seed."
    starts = {line.index("0.") for line in lines[2:8]}
    assert len(starts) == 1


def test_markdown_escapes_what_would_break_a_table():
    assert markdown_table([["a|b", "<i>"], ["x_y", "*"]]).splitlines() == [
        "| a\\|b | &lt;i> |",
        "|---|---|",
        "| x\\_y | \\* |",
    ]


def test_every_markdown_table_carries_the_cautions():
    cautions = [Caution("One seed: no interval.", "one seed"), Caution("In sim-1: x.", "x", ("sim-1",))]
    text = to_markdown(results_table(), sentence="Use it.", cautions=cautions)
    assert text.count("|---") > 0
    assert text.count("Caution: one seed") == text.count("| model |") == 2 + len(SESSIONS)
    assert text.count("sim-1: x.") == 3 and "Caution: one seed; x." in text

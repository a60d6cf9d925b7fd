"""The opening sentence never claims more than the results show."""

import pandas as pd
import pytest
from fake_out import MEANS, SESSIONS, results_table, run_record
from hypothesis import given, settings
from hypothesis import strategies as st

from spikefield.report.cautions import find_cautions, short_note
from spikefield.report.tables import read_panels, t_interval
from spikefield.report.verdict import by_excess, compare, judge


def sentence(means=None, *, seeds=(0, 1, 2), sessions=SESSIONS, **run):
    results = results_table(means=means or MEANS, seeds=seeds, sessions=sessions)
    return judge(results, run_record(seeds=seeds, sessions=sessions, **run)).sentence


def without(*models):
    return {name: mean for name, mean in MEANS.items() if name not in models}


def test_a_student_above_all_rivals_is_recommended_with_its_figures():
    text = sentence()
    assert text.startswith("Use distilled: ") and "0.82 (0.81 to 0.84)" in text
    assert "3 sessions it never saw" in text and "ridge-lfp (0.68 and 0.66)" in text


def test_a_student_below_ridge_did_not_help():
    text = sentence(MEANS | {"distilled": (0.60, 0.55)})
    assert text.startswith("Distillation did not help here: ") and "use ridge-lfp, R² 0.68" in text


def test_a_student_that_helps_on_its_own_session_only_helped_in_part():
    text = sentence(MEANS | {"distilled": (0.82, 0.55)})
    assert text.startswith("Distillation helped in part: ") and "never saw use ridge-lfp" in text


def test_with_trials_each_models_excess_over_its_own_null_counts():
    results = results_table(means=MEANS, seeds=(0, 1, 2), sessions=SESSIONS)
    scores = results[(results["metric"] == "r2") & (results["model"] != "null")]
    own_null = scores["model"].map({"distilled": 0.7}).fillna(0.2)
    excess = scores.assign(metric="r2_excess", value=scores["value"] - own_null)
    verdict = judge(pd.concat([results, excess]), run_record(seeds=(0, 1, 2), sessions=SESSIONS))
    assert verdict.sentence.startswith("Distillation did not help here: ")
    assert "use ridge-lfp, R² 0.48" in verdict.sentence and "excess over its own null" in verdict.sentence
    pd.testing.assert_frame_equal(by_excess(results), results)


def test_a_tie_goes_to_the_simple_decoder():
    text = sentence(MEANS | {"distilled": (0.682, 0.662)})
    assert text.startswith("Distillation did not clearly help here: ") and "not clearly different" in text


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_fewer_than_three_seeds_never_choose(seeds):
    text = sentence(seeds=seeds)
    assert not text.startswith("Use") and "Run three seeds or more before choosing" in text


def test_a_leaking_split_never_chooses():
    assert "a split that leaks, so no model is chosen" in sentence(leaks=True)


def test_scores_at_the_level_of_the_null_are_called_chance():
    text = sentence(dict.fromkeys(MEANS, (0.2, 0.2)))
    assert "better than chance" in text and "Use distilled" not in text


def test_a_score_below_zero_is_no_success_however_low_the_null():
    means = {"distilled": (-0.1, -0.1), "ridge-lfp": (-0.3, -0.3), "ms-lfp": (-0.4, -0.4), "null": (-0.9, -0.9)}
    assert "better than chance" in sentence(means)


def test_a_null_above_zero_stands_beside_the_score():
    assert "; null 0.3" in sentence(MEANS | {"null": (0.31, 0.30)})


@pytest.mark.parametrize("missing", ["ridge-lfp", "ms-lfp"])
def test_without_a_rival_nothing_is_claimed(missing):
    assert sentence(without(missing)).startswith("Whether distillation helped cannot be told")


def test_without_a_student_it_says_so():
    assert sentence(without("distilled")).startswith("No student was distilled here; ")


def test_one_session_says_nothing_of_others():
    assert "never saw" not in sentence(sessions=SESSIONS[:1])


def test_a_better_model_of_the_field_potential_is_preferred_to_the_student():
    assert "use kalman-lfp" in sentence(MEANS | {"kalman-lfp": (0.9, 0.9)})


def test_a_student_of_several_sessions_that_is_better_is_no_failure_of_distillation():
    text = sentence(MEANS | {"ms-distilled": (0.9, 0.9)})
    assert text.startswith("Another student does better here than distilled") and "use ms-distilled" in text


def test_nothing_scored_is_no_error():
    results = results_table().assign(metric="loss")
    assert "nothing can be said" in judge(results, run_record()).sentence


level = st.floats(-0.2, 0.95)


@settings(max_examples=5, deadline=None)
@given(st.fixed_dictionaries({m: st.tuples(level, level) for m in ("distilled", "ridge-lfp", "ms-lfp", "null")}))
def test_use_distilled_means_above_every_rival_on_every_panel(means):
    results = results_table(means=means, sessions=SESSIONS[:2], spread=0.05)
    if judge(results, run_record()).sentence.startswith("Use distilled"):
        for panel in read_panels(results):
            ours = panel.estimate("distilled").mean
            assert all(ours > panel.estimate(rival).mean for rival in ("ridge-lfp", "ms-lfp", "null"))


def test_differences_are_paired_by_seed_and_session():
    results = results_table()
    panel = read_panels(results)[1]
    rows = {
        (r["model"], r["session"], r["seed"]): r["value"] for r in results.to_dict("records") if r["metric"] == "r2"
    }
    twin = []
    for seed in (0, 1, 2):
        gaps = [rows["distilled", s, seed] - rows["ms-lfp", s, seed] for s in SESSIONS[1:]]
        twin.append(sum(gaps) / len(gaps))
    found = compare(panel, "distilled", "ms-lfp")
    assert found is not None and found.difference == pytest.approx(t_interval(twin))
    assert (found.sessions_higher, found.sessions, found.finding) == (3, 3, "higher")


def test_a_rival_run_once_is_compared_with_every_seed():
    results = results_table()
    once = results[(results["model"] != "ridge-lfp") | (results["seed"] == 0)]
    found, whole = (compare(read_panels(r)[0], "distilled", "ridge-lfp") for r in (once, results))
    assert found is not None and whole is not None and found.difference == pytest.approx(whole.difference)


def test_sessions_that_disagree_are_not_clear():
    results = results_table(means=MEANS | {"distilled": (0.8, 0.8)}, spread=0.0)
    student = results["model"] == "distilled"
    results.loc[student & (results["session"] == "sim-3"), "value"] = 0.5
    results.loc[student & (results["session"] == "sim-3"), "value"] += results["seed"] * 1e-3
    found = compare(read_panels(results)[1], "distilled", "ridge-lfp")
    assert found is not None and found.difference.low > 0 and found.finding == "not clear"


def texts(results=None, **run):
    return [c.text for c in find_cautions(results_table() if results is None else results, run_record(**run))]


def test_a_clean_experiment_has_no_caution():
    assert texts() == []


def test_each_trap_is_a_caution():
    assert any("split leaks" in t for t in texts(leaks=True))
    assert any("One seed" in t for t in texts(results_table(seeds=(0,))))
    assert any("Only 2 seeds" in t for t in texts(results_table(seeds=(0, 1))))
    assert any("null is not near zero (sim-0 0.3" in t for t in texts(results_table(means=MEANS | {"null": (0.3, 0)})))
    assert any("far below zero" in t for t in texts(results_table(means=MEANS | {"null": (-0.6, 0)})))
    assert any("No null was run" in t for t in texts(results_table(means=without("null"))))
    assert any("In sim-0, sim-1, sim-2, sim-3: time in the trial" in t for t in texts(caution="time in the trial"))
    holes = results_table()
    holes.loc[0, "value"] = float("nan")
    assert any("1 of 252 scores" in t for t in texts(holes))


def test_a_caution_of_some_sessions_names_them_and_stays_off_the_others_tables():
    run = run_record()
    run["data"]["sessions"][1]["caution"] = "amplitude above 300 Hz"
    cautions = find_cautions(results_table(), run)
    assert short_note(cautions) == "Caution: sim-1: amplitude above 300 Hz."
    assert short_note(cautions, session="sim-1") == "Caution: amplitude above 300 Hz."
    assert short_note(cautions, session="sim-0") == ""


def test_seeds_of_the_student_count_not_those_of_the_ridge():
    results = results_table()
    few = pd.concat(
        [results[results["model"] != "distilled"], results_table(seeds=(0,), means={"distilled": (0.8, 0.8)})]
    )
    assert any("One seed" in t for t in texts(few))

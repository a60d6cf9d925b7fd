"""What a series measures beside R²: reading, a new session, months and classical decoders, on one tiny experiment."""

from dataclasses import replace

import numpy as np
import pytest

import spikefield.experiments.classical as classical
import spikefield.experiments.new_session as new_session
import spikefield.experiments.outputs as outputs
import spikefield.experiments.reading as reading
import tiny
from spikefield.evaluation.bleed import BleedCheck, Cutoff
from spikefield.evaluation.embedding import embed
from spikefield.evaluation.readout import decode, score
from spikefield.evaluation.ridge import Readout
from spikefield.experiments.corpus import read_corpus
from spikefield.experiments.drift import drift_rows
from spikefield.experiments.experiment import run_experiment
from spikefield.experiments.measures import MEASURES
from spikefield.experiments.models import models_of, students
from spikefield.experiments.new_session import nearest, new_session_rows, positions_um
from spikefield.experiments.reading import Reader, low_passed, reading_rows, silenced
from spikefield.experiments.series import read_series, series_names
from spikefield.experiments.study import Study
from spikefield.recordings.arrays import from_arrays
from spikefield.recordings.session import save
from spikefield.training.stages import RunConfig, tune_on_field

CONFIG = tiny.config()
PLACES = np.array([[i % 3, i // 3] for i in range(6)]) * 400.0
TURNED = [2, 0, 1, 5, 3, 4]
SHORT = replace(new_session.TUNING, epochs=1, min_steps=3)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """s0 is distilled on; s1 is another of its array; s2 has the same places in another order."""
    data, out = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("out") / "run"
    for i, order in enumerate((range(6), range(6), TURNED)):
        places = PLACES[list(order)]
        save(from_arrays(**tiny.arrays(i, seconds=36.0), channel_positions_um=places), data / f"s{i}.h5")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outputs, "write_report", lambda out: out / "report.html")
        study = Study(("teacher", "distilled", "ms-lfp"))
        run_experiment(data, out, config=CONFIG, seeds=(0,), study=study, workers=1, progress=False)
    return out, read_corpus(data, config=CONFIG)


def values(rows):
    return {(row["model"], row["session"], row["metric"]): row["value"] for row in rows}


def test_every_series_measures_what_there_is():
    assert {measure for name in series_names() for measure in read_series(name).measures} == set(MEASURES)


def test_reading_is_by_cutoff_lag_and_channel(finished, monkeypatch):
    out, corpus = finished
    check = BleedCheck(
        session_id="s0",
        rate_hz=1000.0,
        n_test=9,
        cutoffs=(Cutoff(low_hz=5.0, high_hz=10.0, r2_below=0.5, r2_band=0.25),),
    )
    monkeypatch.setattr(reading, "check_bleed", lambda data: check)
    found = values(reading_rows(out, corpus))
    assert {session for _, session, _ in found} == {"s0"}
    for model in ("distilled", "ridge-lfp"):
        own = {metric for name, _, metric in found if name == model}
        assert {f"r2@lag_ms={lag}" for lag in reading.LAGS_MS} | {f"r2@without_channel={i}" for i in range(6)} <= own
        assert {"r2@n_channels=4", "r2@n_channels=6", "r2@below_hz=20", "r2@dead_percent=75"} <= own
    assert found["ridge-bands", "s0", "r2@below_hz=10"] == 0.5 and found["ridge-bands", "s0", "r2@band_hz=5"] == 0.25
    model, session = students(out)[0], corpus.sessions[0]
    z = embed(model.encoder, session, window_bins=model.window_bins)
    assert found["distilled", "s0", "r2@dead_percent=0"] == pytest.approx(decode(session, z).mean_r2, abs=1e-5)
    assert found["distilled", "s0", "r2@lag_ms=100"] == pytest.approx(decode(session, z, lags=(5,)).mean_r2, abs=1e-5)
    shown = replace(session, lfp=silenced(session.lfp, np.array([3])))
    without = score(
        session,
        embed(model.encoder, shown, window_bins=model.window_bins),
        Readout.from_arrays(model.readouts["s0"]),
    )
    drop = found["distilled", "s0", "r2@dead_percent=0"] - without.mean_r2
    assert found["distilled", "s0", "r2@without_channel=3"] == pytest.approx(drop, abs=1e-4)


def test_a_reader_that_is_told_nothing_reads_nothing(sessions):
    field, blind = sessions[0].lfp, Reader("blind", lambda field: np.zeros_like(field))
    assert blind.r2(sessions[0], field) < 0.05
    assert Reader("whole", lambda field: field).r2(sessions[0], field) > 0.5
    assert not silenced(field, np.array([1, 4]))[:, [1, 4]].any() and silenced(field, np.array([1]))[:, 0].any()


def test_the_low_pass_keeps_slow_waves_and_stays_inside_a_stretch(sessions):
    session = sessions[0]
    time_s = np.arange(session.n_bins) * 0.02
    waves = np.stack([np.sin(2 * np.pi * 0.5 * time_s), np.sin(2 * np.pi * 8 * time_s)], axis=1)
    passed = low_passed(replace(session, lfp=waves), cutoff_hz=2.0)
    start, end = max(session.stretches("train"), key=lambda s: s[1] - s[0])
    inner = slice(start + 50, end - 50)
    np.testing.assert_allclose(passed[inner, 0], waves[inner, 0], atol=0.02)
    assert np.abs(passed[inner, 1]).max() < 0.02
    spoilt = np.where(session.split.test[:, None], 1e3, waves)
    again = low_passed(replace(session, lfp=spoilt), cutoff_hz=2.0)
    np.testing.assert_array_equal(again[start:end], passed[start:end])


def test_a_new_session_is_used_in_four_ways(finished, monkeypatch):
    out, corpus = finished
    monkeypatch.setattr(new_session, "TUNING", SHORT)
    found = values(new_session_rows(out, corpus))
    ways = ("as it is", "by position", "space tuned", "all tuned")
    assert set(found) == {
        (way, session, metric)
        for way in ways
        for session in ("s1", "s2")
        for metric in ("r2_refitted", "r2_carried", "shift")
    }
    plain = models_of(out, "distilled")[0].scores
    scored = {row["session"]: row["value"] for row in plain if row["metric"] == "r2"}
    assert found["as it is", "s1", "r2_refitted"] == pytest.approx(scored["s1"], abs=1e-5)
    for metric in ("r2_refitted", "r2_carried", "shift"):
        assert found["as it is", "s1", metric] == found["by position", "s1", metric]
        assert found["as it is", "s2", metric] != found["by position", "s2", metric]
    assert found["space tuned", "s1", "shift"] != found["all tuned", "s1", "shift"]


def test_an_electrode_is_read_from_the_nearest_one(finished):
    _, corpus = finished
    found = nearest(positions_um(corpus, corpus.sessions[0]), positions_um(corpus, corpus.sessions[2]))
    assert [TURNED[i] for i in found] == list(range(6))
    assert nearest(PLACES, PLACES + 99.0).tolist() == list(range(6))


@pytest.mark.parametrize("what", ["space", "all"])
def test_tuning_moves_what_it_says_and_nothing_else(finished, what):
    out, corpus = finished
    model, (learned, new, _) = students(out)[0], corpus.sessions
    network = new_session._with_session(model, learned, new)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    own, _ = network.encoder.space.rows_of("s1")
    first, _ = network.encoder.space.rows_of("s0")
    assert (before["encoder.space.table"][own] == before["encoder.space.table"][first]).all()
    run = RunConfig(SHORT, model.window_bins, 0, what, progress=False)
    tune_on_field(network, new, what=what, run=run)
    moved = {name for name, tensor in network.state_dict().items() if not tensor.equal(before[name])}
    assert moved == {"encoder.space.table"} if what == "space" else "reconstruct.weight" in moved
    assert all(p.requires_grad for p in network.parameters())


def test_months_are_read_anew_and_with_the_first_readout(finished):
    out, corpus = finished
    found = values(drift_rows(out, corpus))
    assert {model for model, _, _ in found} == {"teacher", "distilled", "ms-lfp", "ridge-lfp"}
    assert found["distilled", "s0", "r2@refitted_month=0"] == found["distilled", "s0", "r2@carried_month=0"]
    model, session = students(out)[0], corpus.sessions[2]
    z = embed(model.encoder, session, window_bins=model.window_bins)
    carried = score(session, z, Readout.from_arrays(model.readouts["s0"])).mean_r2
    assert found["distilled", "s2", "r2@carried_month=2"] == pytest.approx(carried, abs=1e-5)
    assert found["distilled", "s2", "r2@refitted_month=2"] == pytest.approx(decode(session, z).mean_r2, abs=1e-5)


def test_classical_decoders_are_rows_of_the_sessions_distilled_on(finished, monkeypatch):
    out, corpus = finished
    few = {name: classical.CLASSICAL[name] for name in ("ridge-lfp", "ridge-power", "kalman-lfp", "kalman-spikes")}
    monkeypatch.setattr(classical, "CLASSICAL", few)
    rows = classical.classical_rows(out, corpus)
    scores = {(r["model"], r["session"]): r["value"] for r in rows if r["metric"] == "r2"}
    assert set(scores) == {("kalman-lfp", "s0"), ("kalman-spikes", "s0")}  # 50 Hz allow no band power
    assert {row["regime"] for row in rows} == {"classical"}
    assert scores["kalman-lfp", "s0"] == pytest.approx(few["kalman-lfp"](corpus.sessions[0]).mean_r2, abs=1e-5)

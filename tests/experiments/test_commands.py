"""The commands as functions, one after another as a user calls them: pretrain, fine-tune, distil, embed, evaluate."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

import spikefield.artifact as artifact
import spikefield.experiments.commands as commands
import spikefield.files as files
import tiny
from spikefield.errors import InputError
from spikefield.evaluation.readout import score
from spikefield.evaluation.ridge import Readout
from spikefield.experiments.corpus import read_corpus
from spikefield.recordings import session as layout
from spikefield.windows.binned import BinningConfig
from spikefield.windows.splits import SplitConfig

CONFIG = tiny.config()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    sessions = [tiny.session(0, seconds=36.0), tiny.session(1, seconds=36.0), tiny.session(2, seconds=36.0, channels=8)]
    return tiny.write(tmp_path_factory.mktemp("data"), *sessions)


@pytest.fixture(scope="module")
def models(data, tmp_path_factory):
    """A teacher of two sessions, a field autoencoder of one, and a student of the first."""
    folder = tmp_path_factory.mktemp("models")
    commands.pretrain(data, out=folder / "teacher", config=CONFIG, sessions=["s0", "s1"])
    commands.pretrain(data, out=folder / "field", config=CONFIG, modality="lfp", sessions=["s0"])
    commands.distill(data, out=folder / "student", teacher=folder / "teacher", config=CONFIG)
    return folder


def test_pretrained_models_say_what_they_are(models):
    teacher, field = (artifact.load(models / name) for name in ("teacher", "field"))
    assert (teacher.name, teacher.trained_on) == ("teacher", ("s0", "s1"))
    assert (field.name, field.trained_on) == ("ms-lfp", ("s0",))
    assert {r["metric"] for r in teacher.scores} == {"r2", "r2:vx", "r2:vy"}
    assert len(json.loads((models / "teacher/curve.json").read_text())) == 2


def test_a_student_knows_the_other_sessions_of_its_channels(models):
    student = artifact.load(models / "student")
    assert student.name == "distilled" and student.trained_on == ("s0",)
    assert set(student.encoder.space.rows) == {"s0", "s1"}
    assert student.encoder.space.rows_of("s0") == student.encoder.space.rows_of("s1")
    assert student.lineage["teacher"] == artifact.weights_hash(artifact.load(models / "teacher").network)


def test_a_student_needs_the_field_alone_later(models, data, tmp_path, capsys):
    alone = tiny.write(tmp_path / "alone", tiny.session(0, seconds=36.0, without=("spike",)))
    commands.evaluate(models / "student", alone, out=tmp_path / "alone.csv", config=CONFIG)
    with (tmp_path / "alone.csv").open(newline="") as file:
        found = {(r["session"], r["metric"]): r["value"] for r in csv.DictReader(file)}
    kept = {(s["session"], s["metric"]): str(s["value"]) for s in artifact.load(models / "student").scores}
    assert found == {key: value for key, value in kept.items() if key[0] == "s0"}
    assert f"s0  R² {float(found['s0', 'r2']):.3f}  (390 test bins)" in capsys.readouterr().out


def test_embeddings_and_saved_readouts_give_the_saved_score(models, data, tmp_path):
    commands.embed(models / "student", data, out=tmp_path / "z", config=CONFIG)
    assert sorted(p.name for p in (tmp_path / "z").iterdir()) == ["s0.npz", "s1.npz"]
    model = artifact.load(models / "student")
    session = read_corpus(data, config=CONFIG).sessions[1]
    with np.load(tmp_path / "z/s1.npz", allow_pickle=False) as arrays:
        assert set(arrays.files) == {"z", "time_s", "train", "valid", "test"}
        decoded = score(session, arrays["z"], Readout.from_arrays(model.readouts["s1"]))
        np.testing.assert_allclose(arrays["time_s"], session.time_s)
        assert np.isfinite(arrays["z"][arrays["test"]]).all()
    expected = next(s["value"] for s in model.scores if s["session"] == "s1" and s["metric"] == "r2")
    assert decoded.mean_r2 == pytest.approx(expected, abs=1e-6)


def test_fine_tuning_adds_a_session(models, data, tmp_path):
    commands.finetune(models / "teacher", data, out=tmp_path / "tuned", config=CONFIG, sessions=["s2"])
    tuned = artifact.load(tmp_path / "tuned")
    assert set(tuned.encoder.space.rows) == {"s0", "s1", "s2"} and tuned.trained_on == ("s2",)
    assert tuned.lineage["from"] == artifact.weights_hash(artifact.load(models / "teacher").network)
    assert artifact.weights_hash(tuned.network) != tuned.lineage["from"]
    commands.distill(data, out=tmp_path / "student", teacher=tmp_path / "tuned", config=CONFIG, on=["s2"])
    assert artifact.load(tmp_path / "student").trained_on == ("s2",)


def call(name, models, data, tmp_path, **changes):
    given = {
        "pretrain": {"data": data, "out": tmp_path / "out"},
        "finetune": {"model": models / "teacher", "data": data, "out": tmp_path / "out"},
        "distill": {"data": data, "teacher": models / "teacher", "out": tmp_path / "out"},
        "evaluate": {"model": models / "teacher", "data": data, "out": tmp_path / "out.csv"},
        "embed": {"model": models / "teacher", "data": data, "out": tmp_path / "out"},
    }[name]
    getattr(commands, name)(**{"config": CONFIG, **given, **changes})


RARE = replace(CONFIG, binning=BinningConfig(min_unit_rate_hz=28.0))
RESPLIT = replace(CONFIG, binning=BinningConfig(split=SplitConfig(test_blocks=(1,))))


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("pretrain", {"modality": "eeg"}, "`modality` must be one of spikes, lfp, got 'eeg'"),
        ("pretrain", {"modality": "eeg", "sessions": ["s0"]}, "`modality` must be one of spikes, lfp"),
        ("pretrain", {"sessions": ["x"]}, "`sessions` 'x' is not in the data, which holds s0, s1, s2"),
        ("finetune", {"model": "student"}, "is a student; only autoencoders are fine-tuned"),
        ("finetune", {"config": RARE, "sessions": ["s0"]}, "units, which are not the 10 that model 'teacher' learned"),
        ("distill", {"teacher": "field"}, "reads the field potential; a teacher reads spikes"),
        ("distill", {"teacher": "student"}, "reads the field potential; a teacher reads spikes"),
        ("distill", {"on": ["s2"]}, "`session_id` 's2' is not in this model, which knows s0, s1"),
        ("distill", {"on": ["x"]}, "`distill_on` 'x' is not in the data"),
        ("distill", {"config": RARE}, "units, which are not the 10 that model 'teacher' learned"),
        ("evaluate", {"config": RESPLIT}, "is split in another way than when model 'teacher' was trained"),
        ("evaluate", {"model": "nowhere"}, "holds no config.json, so it is not a model folder"),
        ("embed", {"config": RESPLIT}, "is split in another way"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(models, data, tmp_path, name, changes, message):
    changes = {k: models / v if k in ("model", "teacher") else v for k, v in changes.items()}
    with pytest.raises(InputError, match=message) as caught:
        call(name, models, data, tmp_path, **changes)
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def test_a_model_that_knows_none_of_the_sessions_is_refused(models, tmp_path):
    data = tiny.write(tmp_path / "data", tiny.session(7, seconds=36.0))
    with pytest.raises(InputError, match="the model knows s0, s1, none of which is in the data. Run `spikefield finet"):
        call("evaluate", models, data, tmp_path)


@pytest.mark.parametrize("name", ["pretrain", "finetune", "distill"])
def test_a_folder_that_exists_is_left_alone(models, data, tmp_path, name):
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="`out` .* exists. Choose another folder, or remove it first"):
        call(name, models, data, tmp_path)
    assert not list((tmp_path / "out").iterdir())


def test_a_place_that_cannot_be_written_is_found_before_training(models, data, tmp_path, monkeypatch):
    monkeypatch.setattr(commands, "train_autoencoder", None)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write .*/file/out: (Not a directory|File exists)"):
        call("pretrain", models, data, tmp_path, out=tmp_path / "file/out")


def test_no_session_of_the_modality_is_refused(tmp_path):
    data = tiny.write(tmp_path / "data", tiny.session(0, without=("lfp",)))
    with pytest.raises(InputError, match="no session holds lfp"):
        commands.pretrain(data, out=tmp_path / "out", config=CONFIG, modality="lfp")


def test_simulated_recordings_come_with_their_ceiling(tmp_path):
    commands.simulate(out=tmp_path / "sim", sessions=1, minutes=0.5)
    paths = layout.session_paths(tmp_path / "sim")
    ceilings = files.read_json(tmp_path / "sim/ceiling.json")
    assert [str(layout.load(p).session.id) for p in paths] == list(ceilings)
    assert all(0.5 < value <= 1 for value in ceilings.values())
    with pytest.raises(InputError, match="is not empty. Choose another folder"):
        commands.simulate(out=tmp_path / "sim", sessions=1, minutes=0.5)


def test_the_demo_is_a_simulation_and_an_experiment(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(commands, "simulate", lambda **given: calls.append(("simulate", given)))
    monkeypatch.setattr(commands, "experiment", lambda data, **given: calls.append((data, given)))
    commands.demo(out=tmp_path, config=CONFIG, seeds=[3])
    assert calls[0] == ("simulate", {"out": tmp_path / "recordings"})
    data, given = calls[1]
    assert data == tmp_path / "recordings" and given["out"] == tmp_path / "experiment" and given["seeds"] == [3]
    (tmp_path / "recordings").mkdir()
    commands.demo(out=tmp_path, config=CONFIG)
    assert [call[0] for call in calls].count("simulate") == 1

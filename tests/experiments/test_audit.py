"""The audit passes a clean experiment and finds each of fourteen planted leaks, by the check that is meant for it."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

import spikefield.artifact as artifact
import spikefield.experiments.outputs as outputs
import spikefield.files as files
import tiny
from spikefield.cli import main
from spikefield.errors import InputError
from spikefield.evaluation.embedding import embed
from spikefield.evaluation.ridge import fit_readout
from spikefield.experiments.audit import CHECKS, run_audit
from spikefield.experiments.corpus import read_corpus
from spikefield.experiments.experiment import run_experiment
from spikefield.recordings.session import load
from spikefield.windows.binned import _fit, _Grid

CONFIG = tiny.config()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.write(tmp_path_factory.mktemp("data"), *(tiny.session(i, seconds=36.0) for i in range(2)))


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """A clean experiment of two seeds. Tests work on copies."""
    out = tmp_path_factory.mktemp("experiment") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outputs, "write_report", lambda out: out / "report.html")
        run_experiment(data, out, config=CONFIG, seeds=(0, 1), workers=1, progress=False)
    return out


@pytest.fixture
def out(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "out")
    return tmp_path / "out"


def seal(out):
    """Note the outputs' hashes anew, as one would who hides a leak."""
    run = files.read_json(out / "run.json")
    files.write_json(out / "run.json", run | {"files": outputs.output_hashes(out)})


def change_model(out, name, change):
    """Load a model, change it, keep it with hashes that fit."""
    folder = out / "models" / name
    model = artifact.load(folder)
    change(model)
    artifact.save(model, folder)
    seal(out)


def change_json(path, change):
    content = files.read_json(path)
    change(content)
    files.write_json(path, content)


def failing(out, **where):
    return {check.name for check in run_audit(out, **where) if check.found}


def test_a_clean_run_passes(finished, capsys):
    with pytest.raises(SystemExit) as left:
        main(["audit", str(finished)])
    assert left.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1].rstrip(":") for line in lines] == list(CHECKS)
    assert all(line.startswith("ok ") for line in lines)


def overlapping_split(out, _):
    def overlap(split):
        split["test"][0][0] = split["train"][0][1] - 0.5

    change_json(out / "splits/s0.json", overlap)
    seal(out)
    return {"splits", "guards"}


def no_guard(out, _):
    def widen(split):
        split["train"] = [[a - 0.9, b + 0.9] for a, b in split["train"]]

    change_json(out / "splits/s1.json", widen)
    for name in ("teacher", "distilled"):
        change_model(out, name, lambda model: widen(model.splits["s1"]))
    return {"splits", "guards"}


def other_split_in_a_model(out, _):
    change_model(out, "teacher", lambda model: model.splits["s0"]["train"].append(model.splits["s0"]["test"][0]))
    return {"splits"}


def declared_clean(out, _):
    change_json(out / "splits/s0.json", lambda split: split.update(leaks=True))
    seal(out)
    return {"protocol", "splits"}


def statistics_of_all_time(out, data):
    """The normaliser is fitted on test time too."""

    def refit(model):
        session = read_corpus(data, config=CONFIG).sessions[0]
        grid = _Grid(session.start_s, session.n_bins, tiny.BIN_MS)
        everything = np.ones(session.n_bins, bool)
        model.chains["s0"] = _fit(load(data / "s0.h5"), grid, everything, model.chains["s0"].config)

    change_model(out, "distilled", refit)
    return {"statistics"}


def readout_of_test_time(out, data):
    """The readout is fitted on training and test time together."""

    def refit(model):
        session = read_corpus(data, config=CONFIG).sessions[0]
        split = replace(session.split, train=session.split.train | session.split.test)
        z = embed(model.encoder, session, window_bins=model.window_bins)
        bins = np.flatnonzero(split.train)
        readout = fit_readout(z[bins], session.behavior[bins], stretch=np.zeros(len(bins), int), guard_bins=25)
        model.readouts["s0"] = readout.to_arrays()

    change_model(out, "teacher", refit)
    return {"readouts"}


def penalty_of_test_time(out, _):
    def choose(model):
        model.readouts["s0"]["penalty"] = model.readouts["s0"]["penalty"] * 10**0.5

    change_model(out, "ms-lfp", choose)
    return {"readouts"}


def embellished_model(out, _):
    """A model says a higher score, in its own card and in the table."""

    def embellish(model):
        for row in model.scores:
            row["value"] = 0.99

    change_model(out, "distilled", embellish)
    models = [artifact.load(path) for path in sorted((out / "models").iterdir())]
    rows = [row for model in models for row in model.scores]
    rows += [row for path in (out / "baselines").rglob("scores.json") for row in files.read_json(path)]
    outputs.write_table(out / "results.csv", list(rows[0]), rows)
    seal(out)
    return {"readouts"}


def embellished_table(out, _):
    with (out / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows[0]["value"] = "0.99"
    outputs.write_table(out / "results.csv", list(rows[0]), rows)
    seal(out)
    return {"scores"}


def null_that_scores(out, _):
    path = out / "baselines/s0/scores.json"
    rows = [row | {"value": 0.4} if row["model"] == "null" else row for row in files.read_json(path)]
    files.write_json(path, rows)
    with (out / "results.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    for row in table:
        if row["model"] == "null" and row["session"] == "s0":
            row["value"] = "0.4"
    outputs.write_table(out / "results.csv", list(table[0]), table)
    seal(out)
    return {"nulls"}


def best_seed_only(out, _):
    shutil.rmtree(out / "models/distilled-seed1")
    with (out / "results.csv").open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if (r["model"], r["seed"]) != ("distilled", "1")]
    outputs.write_table(out / "results.csv", list(rows[0]), rows)
    seal(out)
    return {"seeds"}


def model_of_other_data(out, _):
    change_model(out, "distilled", lambda model: model.lineage["data"].update(s0="0" * 64))
    return {"data"}


def altered_weights(out, _):
    path = out / "models/teacher/weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    return {"files", "scores", "seeds", "data"}


def exchanged_model(out, _):
    """A whole model of right hashes in the place of the experiment's own."""
    folder = out / "models/distilled"
    model = artifact.load(folder)
    model.lineage["note"] = "another"
    artifact.save(model, folder)
    return {"files"}


LEAKS = [
    overlapping_split,
    no_guard,
    other_split_in_a_model,
    declared_clean,
    statistics_of_all_time,
    readout_of_test_time,
    penalty_of_test_time,
    embellished_model,
    embellished_table,
    null_that_scores,
    best_seed_only,
    model_of_other_data,
    altered_weights,
    exchanged_model,
]


@pytest.mark.parametrize("plant", LEAKS, ids=lambda plant: plant.__name__)
def test_a_planted_leak_is_found(out, data, plant):
    expected = plant(out, data)
    assert failing(out) == expected


def test_other_data_are_found(out, data, tmp_path):
    changed = tmp_path / "changed"
    shutil.copytree(data, changed)
    tiny.write(changed, tiny.session(0, seconds=36.0, units=11))
    assert {"data", "statistics"} <= failing(out, data=changed)


def test_a_leak_is_exit_status_1_and_json_names_it(out, capsys):
    embellished_table(out, None)
    with pytest.raises(SystemExit) as left:
        main(["audit", str(out), "--json"])
    assert left.value.code == 1
    told = json.loads(capsys.readouterr().out)
    assert told["leaks"] and [c["check"] for c in told["checks"] if not c["passed"]] == ["scores"]


def test_what_is_no_finished_experiment_is_said(tmp_path, out):
    with pytest.raises(InputError, match="holds no experiment.json, so it is no finished experiment"):
        run_audit(tmp_path)
    change_json(out / "run.json", lambda run: run["data"].update(folder="/nowhere"))
    with pytest.raises(InputError, match="its data are not at /nowhere. Say with `--data DIR`"):
        run_audit(out)

"""A whole experiment on tiny data: the output contract, repetition, and data of all kinds."""

import csv
import errno
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import spikefield.artifact as artifact
import spikefield.experiments.outputs as outputs
import spikefield.experiments.runner as runner
import tiny
from spikefield.config import lfp_encoder
from spikefield.errors import InputError
from spikefield.experiments.corpus import read_corpus
from spikefield.experiments.experiment import run_experiment
from spikefield.training.stages import RunConfig, pretrain

CONFIG = tiny.config()
COLUMNS = "model,regime,trained_on,session,seed,metric,value,n_test"
HELD = {  # session: what is left out of it
    "s0": (),
    "s1": (),  # 8 channels, not 6
    "s2": ("spike",),
    "s3": ("lfp",),
    "s4": ("behavior",),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    sessions = [
        tiny.session(i, without=without, seconds=36.0, **({"channels": 8} if i == 1 else {}))
        for i, without in enumerate(HELD.values())
    ]
    return tiny.write(tmp_path_factory.mktemp("data"), *sessions)


def run(data, out, **changes):
    return run_experiment(data, out, **{"config": CONFIG, "workers": 1, "progress": False, **changes})


@pytest.fixture(scope="module")
def out(data, tmp_path_factory):
    """The folder of one finished experiment, report and all. Tests leave it as it is."""
    out = tmp_path_factory.mktemp("experiment") / "out"
    assert run(data, out, command="spikefield experiment data", ceiling_r2={"s0": 0.9}) == out / "report.html"
    return out


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two short sessions, of which the second has other channels."""
    short = [tiny.session(0, seconds=36.0), tiny.session(1, seconds=36.0, channels=8)]
    return tiny.write(tmp_path_factory.mktemp("pair"), *short)


@pytest.fixture(scope="module")
def pair_out(pair, tmp_path_factory):
    """The folder of a finished experiment whose student learned on both of them. Tests leave it as it is."""
    out = tmp_path_factory.mktemp("experiment") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outputs, "write_report", lambda out: out / "report.html")
        run(pair, out, distill_on=["s1", "s0"])
    return out


@pytest.fixture
def no_report(monkeypatch):
    monkeypatch.setattr(outputs, "write_report", lambda out: out / "report.html")


@pytest.fixture
def no_training(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr(runner, "pretrain", refuse)
    monkeypatch.setattr(runner, "distill", refuse)


def rows_of(out):
    with (out / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_results_keep_their_columns_and_names(out):
    assert (out / "results.csv").read_text().splitlines()[0] == COLUMNS
    rows = rows_of(out)
    expected = {
        ("teacher", "unsupervised", "s0;s1;s3;s4"): {"s0", "s1", "s3"},
        ("ms-lfp", "unsupervised", "s0;s1;s2;s4"): {"s0", "s1", "s2"},
        ("ss-lfp", "unsupervised", "s0"): {"s0"},
        ("ss-lfp", "unsupervised", "s1"): {"s1"},
        ("ss-lfp", "unsupervised", "s2"): {"s2"},
        ("distilled", "unsupervised", "s0"): {"s0", "s2"},
        **{("ridge-lfp", "linear", s): {s} for s in ("s0", "s1", "s2")},
        **{("ridge-spikes", "linear", s): {s} for s in ("s0", "s1", "s3")},
        **{("null", "linear", s): {s} for s in ("s0", "s1", "s2", "s3")},
    }
    found = {}
    for row in rows:
        if row["metric"] == "r2":
            found.setdefault((row["model"], row["regime"], row["trained_on"]), set()).add(row["session"])
    assert found == expected
    assert {row["metric"] for row in rows} == {"r2", "r2:vx", "r2:vy"}
    assert {row["seed"] for row in rows} == {"0"} and {row["n_test"] for row in rows} == {"390"}
    assert all(float(row["value"]) <= 1 for row in rows)
    keys = [(row["model"], row["trained_on"], row["session"], row["seed"], row["metric"]) for row in rows]
    assert len(set(keys)) == len(keys)


def test_a_mean_is_that_of_its_dimensions(out):
    rows = {(r["model"], r["trained_on"], r["session"], r["metric"]): float(r["value"]) for r in rows_of(out)}
    for (*which, metric), value in rows.items():
        if metric == "r2":
            assert value == pytest.approx((rows[*which, "r2:vx"] + rows[*which, "r2:vy"]) / 2, abs=1e-5)


def test_splits_are_saved(out, data):
    assert sorted(p.name for p in (out / "splits").iterdir()) == [f"{s}.json" for s in HELD]
    saved = json.loads((out / "splits/s0.json").read_text())
    assert saved["session"] == "s0" and saved["valid"] == [[0.0, 3.1]] and saved["test"][0] == [7.7, 10.3]


def test_models_lie_in_folders_of_their_own(out):
    names = ["distilled", "ms-lfp", *(f"ss-lfp-{s}" for s in ("s0", "s1", "s2", "s4")), "teacher"]
    assert sorted(p.name for p in (out / "models").iterdir()) == names
    for name in names:
        folder = out / "models" / name
        assert {p.name for p in folder.iterdir()} == {
            "README.md",
            "config.json",
            "curve.json",
            "preprocessing.json",
            "preprocessing.safetensors",
            "readouts.safetensors",
            "splits.json",
            "stage.json",
            "weights.safetensors",
        }
        model = artifact.load(folder)
        assert len(json.loads((folder / "curve.json").read_text())) == 2
        for session_id, split in model.splits.items():
            saved = json.loads((out / f"splits/{session_id}.json").read_text())
            assert saved == {"session": session_id} | split


def test_the_student_carries_all_it_needs(out):
    model = artifact.load(out / "models/distilled")
    assert model.trained_on == ("s0",) and set(model.encoder.space.rows) == {"s0", "s2", "s4"}
    assert set(model.readouts) == {"s0", "s2"} and set(model.chains) == set(model.splits) == {"s0", "s2", "s4"}
    assert model.lineage["teacher"] == json.loads((out / "models/teacher/stage.json").read_text())["key"]
    assert set(model.lineage["data"]) == {"s0"}


def test_the_run_is_described(out):
    found = json.loads((out / "run.json").read_text())
    assert found["command"] == "spikefield experiment data" and found["seeds"] == [0]
    assert found["protocol"] == "blocked" and found["leaks"] is False and found["distill_on"] == ["s0"]
    assert found["ceiling_r2"] == {"s0": 0.9}
    assert {"torch", "numpy", "python", "spikefield"} <= set(found["versions"])
    assert {"cores", "memory_gb", "gpu", "machine"} <= set(found["hardware"])
    described = {s["session"]: s for s in found["data"]["sessions"]}
    assert list(described) == list(HELD)
    assert described["s1"]["channels"] == 8 and described["s3"]["channels"] == 0 and described["s2"]["units"] == 0
    assert described["s0"]["window_s"] == 1.0 and described["s0"]["minutes"] == pytest.approx(36 / 60, abs=0.01)
    stages = {(s["stage"], s["model"], s["seed"]) for s in found["stages"]}
    assert {("train", "teacher", 0), ("train", "distilled", 0), ("train", "ss-lfp s1", 0)} <= stages
    assert all(s["seconds"] >= 0 and s["peak_memory_mb"] > 10 for s in found["stages"])


def test_figures_find_their_arrays(out):
    with np.load(out / "predictions/s0.npz", allow_pickle=False) as arrays:
        assert {"time_s", "true", "names", "pred_teacher", "pred_distilled", "pred_ms-lfp", "pred_ridge-lfp"} <= set(
            arrays.files
        )
        assert {arrays[n].shape for n in arrays.files if n.startswith("pred_")} == {(390, 2)}
    with np.load(out / "representations/s0.npz", allow_pickle=False) as arrays:
        assert {"direction_rad", "speed", "color_name", "z_teacher", "z_distilled", "z_ms-lfp"} == set(arrays.files)
    assert (out / "report.html").stat().st_size > 10_000
    assert (out / "curves.csv").read_text().startswith("model,seed,epoch,train_loss,valid_loss,r2\n")


def test_a_second_run_reuses_every_stage(data, out, no_training, no_report):
    stages = {path: path.stat().st_mtime_ns for path in out.rglob("stage.json")}
    results = (out / "results.csv").read_bytes()
    run(data, out)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("stage.json")} == stages and len(stages) == 11
    assert (out / "results.csv").read_bytes() == results


def test_another_seed_is_added_and_what_was_lost_is_made_again(pair, pair_out, tmp_path, no_report):
    copy = tmp_path / "copy"
    shutil.copytree(pair_out, copy)
    shutil.rmtree(copy / "models/ms-lfp")
    kept = (copy / "models/teacher/stage.json").stat().st_mtime_ns
    run(pair, copy, distill_on=["s1", "s0"], seeds=(0, 1))
    assert (copy / "models/teacher/stage.json").stat().st_mtime_ns == kept
    first, both = rows_of(pair_out), rows_of(copy)
    assert [r for r in both if r["seed"] == "0"] == first
    values = {r["seed"]: r["value"] for r in both if r["model"] == "teacher" and r["session"] == "s0"}
    assert values["0"] != values["1"] and (copy / "models/ss-lfp-s1-seed1").is_dir()
    assert {r["seed"] for r in both if r["model"].startswith("ridge")} == {"0"}


@pytest.mark.parametrize("change", [{"config": tiny.config(window_s=2.0)}, {"distill_on": ["s1"]}])
def test_the_folder_of_another_experiment_is_left_alone(data, out, change):
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    with pytest.raises(InputError, match="holds another experiment: (config|distill_on) differ"):
        run(data, out, **change)
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*")} == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"distill_on": ["s9"]}, "`distill_on` 's9' is not in the data, which holds s0, s1, s2, s3, s4"),
        ({"distill_on": ["s0", "s0"]}, "`distill_on` must be different ids"),
        ({"distill_on": ["s2"]}, "session 's2' has no spikes"),
        ({"distill_on": ["s3"]}, "session 's3' has no lfp"),
        ({"seeds": ()}, "`seeds` must be one or more different whole numbers"),
        ({"seeds": (1, 1)}, "`seeds` must be one or more different whole numbers"),
        ({"workers": 0}, "`workers` must be 1 or more"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(data, tmp_path, change, message):
    with pytest.raises(InputError, match=message) as caught:
        run(data, tmp_path / "out", **change)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "out").glob("models/*"))


@pytest.mark.parametrize(
    ("without", "message"),
    [
        (("spike",), "no session holds both spikes and lfp, so no student can be distilled"),
        (("lfp",), "no session holds both spikes and lfp"),
        (("behavior",), "no session holds behavior, so nothing can be scored"),
    ],
)
def test_data_that_cannot_do_are_refused_before_anything_is_written(tmp_path, without, message):
    data = tiny.write(tmp_path / "data", tiny.session(0, without=without))
    with pytest.raises(InputError, match=message):
        run(data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_several_sessions_teach_one_student(pair_out):
    found = {(r["trained_on"], r["session"]) for r in rows_of(pair_out) if r["model"] == "distilled"}
    assert found == {("s1;s0", "s1"), ("s1;s0", "s0")}


def leftovers(out):
    return [p for p in out.rglob("*") if p.name.endswith((".part", ".old"))]


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(pair, tmp_path, monkeypatch, no_report):
    write = Path.write_bytes

    def full(path, content):
        if path.name == "weights.safetensors":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError) as caught:
        run(pair, tmp_path / "out")
    message = str(caught.value)
    assert message.startswith(f"cannot write {tmp_path}/out/models/teacher: No space left on device.")
    assert "\n" not in message
    assert not leftovers(tmp_path)
    kept = [p.name for p in (tmp_path / "out/models").iterdir()]
    assert len(kept) == 1 and kept[0].endswith(".checkpoint"), "the training is not lost"


def test_a_read_only_disk_is_one_line(pair, tmp_path, monkeypatch):
    def read_only(path, *_, **__):
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "mkdir", read_only)
    with pytest.raises(InputError, match=r"cannot write .*experiment\.json: Read-only file system\. Free or choose"):
        run(pair, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_interrupted_run_goes_on_and_ends_with_the_same_bytes(pair, pair_out, tmp_path, monkeypatch, no_report):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(runner, "distill", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(pair, out, distill_on=["s1", "s0"])
    assert [p.name for p in (out / "models").iterdir()] == ["teacher"] and not leftovers(tmp_path)
    kept = (out / "models/teacher/stage.json").stat().st_mtime_ns
    run(pair, out, distill_on=["s1", "s0"])
    assert (out / "models/teacher/stage.json").stat().st_mtime_ns == kept
    for name in ("results.csv", "curves.csv"):
        assert (out / name).read_bytes() == (pair_out / name).read_bytes()


def test_one_session_alone_has_one_field_autoencoder(tmp_path):
    data = tiny.write(tmp_path, tiny.session(0, seconds=36.0))
    run(data, tmp_path / "out")
    over_all, alone = (artifact.load(tmp_path / "out/models" / name) for name in ("ms-lfp", "ss-lfp-s0"))
    assert alone.name == "ss-lfp" and artifact.weights_hash(alone.network) == artifact.weights_hash(over_all.network)
    with (tmp_path / "out/results.csv").open() as file:
        values = {r["model"]: r["value"] for r in csv.DictReader(file) if r["metric"] == "r2"}
    assert values["ss-lfp"] == values["ms-lfp"] != values["teacher"]
    corpus = read_corpus(data, config=CONFIG)
    [session] = corpus.having("lfp")
    trained, _ = pretrain(
        [session],
        encoder=lfp_encoder(CONFIG, [session]),
        autoencoding=CONFIG.autoencoding,
        run=RunConfig(CONFIG.pretraining, corpus.window_bins, 0, "ss-lfp", progress=False),
    )
    assert artifact.weights_hash(trained) == artifact.weights_hash(alone.network)

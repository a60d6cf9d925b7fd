"""All models of the paper on tiny data: held-out sessions, both regimes, the same outputs; the audit passes."""

import csv

import pytest

import spikefield.artifact as artifact
import spikefield.experiments.outputs as outputs
import spikefield.experiments.runner as runner
import spikefield.files as files
import tiny
from spikefield.config import load_preset, multimodal_encoder
from spikefield.errors import InputError
from spikefield.experiments.audit import run_audit
from spikefield.experiments.experiment import run_experiment
from spikefield.experiments.study import MODELS, Study
from spikefield.windows.binned import BinningConfig, bin_session

HELD = {"s0": (), "s1": (), "s2": ("lfp",), "s3": ("spike",)}  # session: what is left out of it
STUDY = {"models": MODELS, "pretrain_on": ("s0", "s2", "s3")}  # s1 is held out


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    sessions = [tiny.session(i, without=without, seconds=36.0) for i, without in enumerate(HELD.values())]
    return tiny.write(tmp_path_factory.mktemp("data"), *sessions)


def run(data, out, study, **changes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outputs, "write_report", lambda out: out / "report.html")
        given = {"config": tiny.config(), "workers": 1, "progress": False, "distill_on": ["s1"], **changes}
        run_experiment(data, out, study=study, **given)
    return out


@pytest.fixture(scope="module")
def unsupervised(data, tmp_path_factory):
    return run(data, tmp_path_factory.mktemp("unsupervised") / "out", Study(**STUDY))


@pytest.fixture(scope="module")
def supervised(data, unsupervised, tmp_path_factory):
    out = tmp_path_factory.mktemp("supervised") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "pretrain", refuse)
        return run(data, out, Study(**STUDY, supervised=True), reuse=[unsupervised])


def refuse(*_, **__):
    raise AssertionError("trained again")


def scored(out):
    found = {}
    with (out / "results.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["metric"] == "r2" and row["regime"] != "linear":
                found.setdefault((row["model"], row["regime"], row["trained_on"]), set()).add(row["session"])
    return found


def test_unsupervised_models_are_scored_where_they_can_be(unsupervised):
    assert scored(unsupervised) == {
        ("teacher", "unsupervised", "s0;s2"): {"s0", "s2"},  # s2 holds spikes alone
        ("teacher", "unsupervised", "s0;s2;s1"): {"s1"},  # fine-tuned to the held-out session
        ("ms-lfp", "unsupervised", "s0;s3"): {"s0", "s3"},
        ("ms-lfp", "unsupervised", "s0;s3;s1"): {"s1"},
        ("distilled", "unsupervised", "s1"): {"s0", "s1", "s3"},
        ("ms-distilled", "unsupervised", "s1;s0"): {"s0", "s1", "s3"},
        **{(name, "unsupervised", "s1"): {"s1"} for name in ("ss-lfp", "ss-spike", "ss-mm")},  # the held-out one alone
    }


def test_supervised_models_go_on_from_the_unsupervised_ones(supervised, unsupervised):
    assert scored(supervised) == {
        ("teacher", "supervised", "s0;s2;s1"): {"s0", "s1", "s2"},
        ("ms-lfp", "supervised", "s0;s3;s1"): {"s0", "s1", "s3"},
        ("distilled", "supervised", "s1"): {"s0", "s1", "s3"},
        ("ms-distilled", "supervised", "s1;s0"): {"s0", "s1", "s3"},
        **{(name, "supervised", "s1"): {"s1"} for name in ("ss-lfp", "ss-spike", "ss-mm")},  # the held-out one alone
    }
    teacher, tuned = (
        artifact.load(folder)
        for folder in (supervised / "models/teacher-supervised", supervised / "stages/teacher-tuned")
    )
    assert teacher.lineage["from"] == files.read_json(supervised / "stages/teacher-tuned/stage.json")["key"]
    assert artifact.weights_hash(teacher.network) != artifact.weights_hash(tuned.network)
    before = artifact.load(unsupervised / "models/teacher-tuned")
    assert artifact.weights_hash(before.network) == artifact.weights_hash(tuned.network)
    assert artifact.load(supervised / "models/distilled").network.config.supervised


@pytest.mark.parametrize("which", ["unsupervised", "supervised"])
def test_the_audit_passes(which, request):
    assert [check.line for check in run_audit(request.getfixturevalue(which)) if check.found] == []


def test_spikes_and_field_together_are_one_model(unsupervised):
    model = artifact.load(unsupervised / "models/ss-mm-s1")
    assert model.encoder.config.modalities == ("spikes", "lfp") and set(model.chains) == {"s1"}
    assert len(model.sessions["s1"]["channels"]) == 10 + 6


def test_every_session_has_models_of_its_own_where_none_is_held_out(data, unsupervised, tmp_path):
    run(data, tmp_path / "out", Study(models=("ss-lfp", "ss-spike")), reuse=[unsupervised])
    assert scored(tmp_path / "out") == {
        **{("ss-lfp", "unsupervised", s): {s} for s in ("s0", "s1", "s3")},
        **{("ss-spike", "unsupervised", s): {s} for s in ("s0", "s1", "s2")},
    }


def test_what_cannot_be_is_said(data, tmp_path):
    with pytest.raises(InputError, match="`models` must be of teacher, distilled"):
        Study(models=("teacher", "student"))
    with pytest.raises(InputError, match="no session of `pretrain_on` holds spikes"):
        run(data, tmp_path / "out", Study(models=("teacher",), pretrain_on=("s3",)))
    with pytest.raises(InputError, match="`pretrain_on` 's9' is not in the data"):
        run(data, tmp_path / "other", Study(pretrain_on=("s9",)))


def test_power_sessions_have_patches_of_whole_channels():
    config = load_preset("paper-power")
    assert config.lfp_patch == 32 * 9 and config.window_s == 3.0
    binning = BinningConfig(bin_width_ms=30.0, chain=config.binning.chain)
    session = bin_session(tiny.session(0, seconds=80.0), config=binning)
    names = [name.rpartition("/")[0] for name in session.channel_ids]
    assert session.lfp.shape[1] % 6 == 0 and names == sorted(names)  # a channel's features stand side by side
    assert multimodal_encoder(config, [session]).lfp_patch_size == 288

"""A model folder gives back the model that was saved, and is refused when anything in it changed."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import spikefield
import spikefield.artifact as artifact
import tiny
from spikefield.artifact import Model
from spikefield.config import lfp_encoder, spike_encoder
from spikefield.errors import InputError
from spikefield.evaluation.embedding import embed
from spikefield.evaluation.readout import score
from spikefield.evaluation.ridge import Readout
from spikefield.experiments.scoring import score_model
from spikefield.models.encoder import Encoder
from spikefield.objectives.autoencoding import MaskedAutoencoder
from spikefield.objectives.distillation import Student

CONFIG = tiny.config()


def teacher_of(sessions):
    torch.manual_seed(0)
    network = MaskedAutoencoder(Encoder(spike_encoder(CONFIG, sessions)), CONFIG.autoencoding)
    for session in sessions:
        network.encoder.add_session(session.session_id, session.counts.shape[1])
    return Model("teacher", network, tuple(s.session_id for s in sessions), 20.0, 50, seed=3)


def student_of(sessions):
    torch.manual_seed(0)
    encoder = Encoder(lfp_encoder(CONFIG, sessions[:1]))
    network = Student(encoder, CONFIG.distillation, n_channels=6, teacher_dim=24)
    network.encoder.add_session("s0", 6)
    network.encoder.space.share_session("s2", like="s0")
    return Model("distilled", network, ("s0",), 20.0, 50, seed=3, lineage={"teacher": "abc"})


@pytest.fixture(scope="module")
def models(sessions):
    """A teacher of all sessions and a student of the first, scored; networks as they are made, not trained."""
    teacher, student = teacher_of(sessions), student_of(sessions)
    score_model(teacher, sessions)
    score_model(student, [sessions[0], sessions[2]])
    return {"teacher": teacher, "student": student}


@pytest.fixture(scope="module")
def saved(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name, model in models.items():
        (folder / name).mkdir()
        artifact.save(model, folder / name)
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    """A copy of the student's folder that a test may spoil."""
    return Path(shutil.copytree(saved / "student", tmp_path / "student"))


@pytest.mark.parametrize("name", ["teacher", "student"])
def test_what_is_loaded_is_what_was_saved(models, saved, sessions, name):
    model, loaded = models[name], artifact.load(saved / name)
    for field in (
        "name",
        "trained_on",
        "bin_width_ms",
        "window_bins",
        "seed",
        "chain",
        "lineage",
        "sessions",
        "scores",
    ):
        assert getattr(loaded, field) == getattr(model, field), field
    assert loaded.splits == json.loads(json.dumps(model.splits)) == model.splits
    assert loaded.encoder.config == model.encoder.config and loaded.network.config == model.network.config
    assert artifact.weights_hash(loaded.network) == artifact.weights_hash(model.network)
    assert not loaded.network.training and all(p.requires_grad for p in loaded.network.parameters())
    for session in (sessions[0], sessions[2]):
        z = embed(loaded.encoder, session, window_bins=50)
        np.testing.assert_array_equal(z, embed(model.encoder, session, window_bins=50))
        decoded = score(session, z, Readout.from_arrays(loaded.readouts[session.session_id]))
        kept = next(s for s in model.scores if s["session"] == session.session_id and s["metric"] == "r2")
        assert round(decoded.mean_r2, 6) == kept["value"]


def test_the_signal_chain_travels_with_the_student(saved, sessions):
    chains = artifact.load(saved / "student").chains
    assert set(chains) == {"s0", "s2"}
    raw = tiny.arrays(0)["lfp"].astype(np.float32)
    np.testing.assert_array_equal(chains["s0"].apply(raw), sessions[0].lfp)
    assert artifact.load(saved / "teacher").chains == {}


def test_loading_draws_no_random_numbers(saved):
    state = torch.get_rng_state()
    artifact.load(saved / "student")
    assert torch.equal(state, torch.get_rng_state())


def test_loaded_weights_do_not_hang_on_the_folder(copy):
    loaded = artifact.load(copy)
    before = artifact.weights_hash(loaded.network)
    (copy / "weights.safetensors").write_bytes(b"")
    assert artifact.weights_hash(loaded.network) == before


def test_the_card_says_what_the_model_is(saved, models):
    card = (saved / "student/README.md").read_text(encoding="utf-8")
    for words in (
        "# distilled",
        "the field potential alone",
        "trained on s0 (seed 3)",
        "| s0 | r2 |",
        "license: apache",
    ):
        assert words in card
    assert f"{sum(p.numel() for p in models['student'].network.parameters()):,} weights" in card


FILES = (
    "weights.safetensors",
    "preprocessing.json",
    "preprocessing.safetensors",
    "readouts.safetensors",
    "splits.json",
)


def refused(folder, message):
    with pytest.raises(InputError, match=message) as caught:
        artifact.load(folder)
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


@pytest.mark.parametrize("name", FILES)
def test_an_altered_file_is_refused(copy, name):
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    refused(copy, rf"{name}: differs from the hash in config\.json")


@pytest.mark.parametrize("name", FILES)
def test_a_missing_or_renamed_file_is_refused(copy, name):
    (copy / name).rename(copy / f"{name}.bak")
    refused(copy, rf"{name}: missing")


@pytest.mark.parametrize("name", ["more.safetensors", "extra.json"])
def test_a_file_that_was_added_is_refused(copy, name):
    shutil.copy(copy / "weights.safetensors", copy / name)
    refused(copy, rf"{name}: is not listed in config\.json")


def test_what_a_stage_leaves_beside_the_model_is_no_part_of_it(copy):
    for name in ("stage.json", "curve.json", ".gitattributes", "LICENSE"):
        (copy / name).write_text("{}")
    assert artifact.load(copy).name == "distilled"


def rewrite(folder, change):
    config = json.loads((folder / "config.json").read_text())
    change(config)
    config["sha256"] = artifact.config_hash(config)
    (folder / "config.json").write_text(json.dumps(config))


def without(key):
    return lambda config: config.pop(key)


def put(*path, value):
    def change(config):
        for key in path[:-1]:
            config = config[key]
        config[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("format_version", value=2), "`format_version` must be 1 to 1, got 2. Update spikefield to read it"),
        (put("format_version", value="1"), "`format_version` must be 1 to 1, got '1'"),
        (put("format", value="other"), "`format` must be 'spikefield-model'"),
        (without("files"), "lists no `files` with their hashes"),
        (put("files", value={}), "must list the files weights.safetensors, .* got none"),
        (lambda c: c["files"].pop("readouts.safetensors"), "must list the files"),
        (put("files", "../../etc/passwd", value="0"), r"names '\.\./\.\./etc/passwd', which leaves the folder"),
        (put("files", "/etc/passwd", value="0"), "names '/etc/passwd', which leaves the folder"),
        (put("files", "sub/weights.safetensors", value="0"), "which leaves the folder"),
        (put("files", "more.bin", value="0"), "must list the files"),
        (put("encoder", "transformer", "dim", value=32), "not a whole model .*size mismatch"),
        (put("encoder", "transformer", "dim", value=1 << 40), "not a whole model"),
        (put("encoder", "transformer", "n_heads", value=0), "`dim` and `n_heads` must be 1 or more"),
        (put("encoder", "modality", value="eeg"), "`modality` must be one of"),
        (put("encoder", "colour", value="red"), "not a whole model .*colour"),
        (put("n_channels", value=None), "not a whole model"),
        (put("space_rows", "s0", value=[0, 5]), "not a whole model .*size mismatch"),
        (put("space_rows", value=[1, 2]), "not a whole model"),
        (without("trained_on"), "not a whole model .*trained_on"),
        (put("bin_width_ms", value="fast"), "not a whole model"),
    ],
)
def test_an_altered_config_is_refused(copy, change, message):
    rewrite(copy, change)
    refused(copy, message)


def test_what_is_no_model_is_refused(tmp_path):
    refused(tmp_path, "holds no config.json, so it is not a model folder")
    (tmp_path / "config.json").write_text("[]")
    refused(tmp_path, "`format` must be")
    (tmp_path / "config.json").write_text("{")
    refused(tmp_path, "is not readable JSON")


def test_a_giant_config_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(artifact, "_LARGEST_CONFIG_BYTES", 10)
    (tmp_path / "config.json").write_text(" " * 11)
    refused(tmp_path, "larger than 10 bytes")


def test_the_hash_of_weights_changes_with_any_weight(models):
    network = models["student"].network
    before = artifact.weights_hash(network)
    with torch.no_grad():
        network.encoder.space.table[0, 0] += 1e-3
        assert artifact.weights_hash(network) != before
        network.encoder.space.table[0, 0] -= 1e-3


def test_nothing_in_the_package_is_pickled():
    forbidden = re.compile(
        r"\bimport (pickle|joblib|dill|shelve)\b|\bpickle\.|(?<!safetensors\.)torch\.(load|save)\("
        r"|allow_pickle=True|yaml\.load\("
    )
    found = [
        f"{path.name}:{number}"
        for path in sorted(Path(spikefield.__file__).parent.rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if forbidden.search(line)
    ]
    assert found == []

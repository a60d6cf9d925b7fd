"""Every attack that a model, a recording, a config or an experiment's folder could carry, planted and refused."""

import importlib.util
import json
import logging
import os
import pickle
import re
import struct
import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

import spikefield
import spikefield.artifact as artifact
import spikefield.cli as cli
import spikefield.experiments.commands as commands
import spikefield.experiments.outputs as outputs
import spikefield.files as files
import spikefield.training.checkpoint as checkpoint
import tiny
from spikefield.errors import InputError
from spikefield.recordings import session as layout
from spikefield.recordings.readers import npz as npz_reader
from spikefield.report import reading
from spikefield.training.loop import HardwareConfig

FUZZ = Path(__file__).parents[1] / "benchmarks/fuzz.py"


class Planted:
    """What unpickles by running a command."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.fixture
def marker(tmp_path):
    """A file that planted code would make; the test fails where it is there at the end."""
    path = tmp_path / "planted"
    yield path
    assert not path.exists(), "planted code ran"


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """Models and checkpoints to spoil."""
    folder = tmp_path_factory.mktemp("good")
    fuzz.make_good(folder)
    return folder


def _module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fuzz = _module(FUZZ)


def rehash(folder):
    config = json.loads((folder / "config.json").read_text())
    config["files"] = {name: files.sha256(folder / name) for name in config["files"]}
    config["sha256"] = artifact.config_hash(config)
    (folder / "config.json").write_text(json.dumps(config))


@pytest.fixture
def model(good, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for path in (good / "student").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_nothing_in_the_package_runs_what_it_reads():
    forbidden = re.compile(
        r"\bimport (pickle|joblib|dill|shelve|marshal)\b|\bos\.system\(|shell=True|(?<![\w.])eval\(|(?<![\w.])exec\("
    )
    found = [
        f"{path.name}:{number}"
        for path in sorted(Path(spikefield.__file__).parent.rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if forbidden.search(line)
    ]
    assert found == []


@pytest.mark.parametrize("name", ["weights.safetensors", "readouts.safetensors", "preprocessing.json"])
def test_a_pickle_in_a_model_folder_is_not_run(model, marker, name):
    (model / name).write_bytes(pickle.dumps(Planted(marker)))
    rehash(model)
    with pytest.raises(InputError):
        artifact.load(model)


def test_a_pickle_for_a_checkpoint_is_not_run(tmp_path, marker):
    (tmp_path / "c").mkdir()
    (tmp_path / "c/last.safetensors").write_bytes(pickle.dumps(Planted(marker)))
    with pytest.raises(InputError, match="holds no whole checkpoint"):
        checkpoint.load(tmp_path / "c")


def test_a_planted_checkpoint_of_lightning_is_not_loaded(good, tmp_path, marker, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hpc_ckpt_1.ckpt").write_bytes(pickle.dumps(Planted(marker)))
    for name, value in {"NTASKS": 1, "JOB_NAME": "x", "PROCID": 0, "LOCALID": 0, "NODEID": 0, "JOB_ID": 1}.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    commands.pretrain(good / "data", out=tmp_path / "teacher", config=tiny.config(hardware=HardwareConfig("cpu")))
    assert artifact.load(tmp_path / "teacher").name == "teacher"


def test_object_arrays_in_an_npz_are_not_run(tmp_path, marker):
    path = tmp_path / "predictions/s0.npz"
    path.parent.mkdir()
    np.savez(path, lfp=np.array([Planted(marker)], dtype=object), lfp_rate_hz=100.0)
    with pytest.raises(ValueError, match="Object arrays cannot be loaded"):
        outputs.read_npz(path)
    with pytest.raises(InputError):
        npz_reader.READER.inspect(path)
    folder = reading.Experiment(tmp_path, pd.DataFrame(), {}, {}, None)
    with pytest.raises(InputError, match=r"not a readable \.npz"):
        folder.arrays("predictions", "s0")


@pytest.mark.parametrize("flag", ["window_s", "transformer", "evil"])
def test_a_python_tag_in_a_config_is_not_run(tmp_path, marker, flag, capsys):
    path = tmp_path / "evil.yaml"
    path.write_text(f"{flag}: !!python/object/apply:os.system ['touch {marker}']\n")
    with pytest.raises(SystemExit) as left:
        cli.main(["pretrain", "data", "--out", str(tmp_path / "out"), "--config", str(path)])
    said = capsys.readouterr().err
    assert left.value.code == 2 and said.count("\n") == 1 and said.startswith("spikefield: ")


def test_a_config_that_blows_up_is_refused(tmp_path, capsys):
    lines = [
        "a: &a [x,x,x,x,x,x,x,x,x]",
        *(f"b{i}: &b{i} [{','.join(['*a' if not i else f'*b{i - 1}'] * 9)}]" for i in range(9)),
    ]
    (tmp_path / "bomb.yaml").write_text("\n".join(lines))
    (tmp_path / "long.yaml").write_text("#" * (1 << 20) + "\n\n")
    for name, message in (("bomb", "holds YAML aliases"), ("long", "is larger than 1048576 bytes")):
        with pytest.raises(SystemExit):
            cli.main(["pretrain", "data", "--out", str(tmp_path / "out"), "--config", str(tmp_path / f"{name}.yaml")])
        assert message in capsys.readouterr().err


def test_no_path_in_a_model_leaves_its_folder(model):
    config = json.loads((model / "config.json").read_text())
    for name in ("../weights.safetensors", "/etc/passwd", "sub/weights.safetensors"):
        altered = config | {"files": config["files"] | {name: "0"}}
        (model / "config.json").write_text(json.dumps(altered | {"sha256": artifact.config_hash(altered)}))
        with pytest.raises(InputError, match="leaves the folder"):
            artifact.load(model)
    altered = config | {"space_rows": {"../../s0": next(iter(config["space_rows"].values()))}}
    (model / "config.json").write_text(json.dumps(altered | {"sha256": artifact.config_hash(altered)}))
    with pytest.raises(InputError, match="`session` must be made of letters"):
        artifact.load(model)


def test_a_session_whose_name_is_a_path_is_refused(tmp_path):
    path = layout.save(tiny.session(0, seconds=10.0), tmp_path / "s0.h5")
    with h5py.File(path, "r+") as file:
        file["session"].attrs["id"] = "../../s0"
    with pytest.raises(InputError, match=r"`session.id` must be made of letters.*got '../../s0'"):
        layout.load(path)


@pytest.mark.parametrize("shape", [[1 << 40], [1 << 62, 4], [-1], [0]])
def test_giant_shapes_in_a_tensor_file_are_not_allocated(model, shape):
    path = model / "weights.safetensors"
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header[next(k for k in header if k != "__metadata__")]["shape"] = shape
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])
    rehash(model)
    with pytest.raises(InputError, match="not a whole model"):
        artifact.load(model)


@pytest.mark.parametrize(("key", "value"), [("n_layers", 10**9), ("dim", 1 << 40), ("n_heads", 1 << 40)])
def test_a_giant_network_in_a_config_is_not_built(model, key, value):
    config = json.loads((model / "config.json").read_text())
    config["encoder"]["transformer"][key] = value
    (model / "config.json").write_text(json.dumps(config | {"sha256": artifact.config_hash(config)}))
    with pytest.raises(InputError):
        artifact.load(model)


def test_a_recording_that_declares_more_than_it_holds_is_not_read(tmp_path):
    path = layout.save(tiny.session(0, seconds=10.0), tmp_path / "s0.h5")
    with h5py.File(path, "r+") as file:
        del file["lfp/signal"]
        file.create_dataset("lfp/signal", shape=(10**12, 6), chunks=(1000, 6), dtype="f4")
    with pytest.raises(InputError, match="lfp/signal declares 24000000000000 bytes, of which the file holds 0"):
        layout.load(path)


def test_json_nested_without_end_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="not readable JSON"):
        files.read_json(tmp_path / "config.json")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python 3.12 on forks of processes with threads
def test_spoilt_files_are_refused_or_harmless(good):
    level = logging.root.manager.disable
    found = fuzz.run(good, cases=60, seed=10_000)
    assert logging.root.manager.disable == level and found["cases"] == 60 and found["failures"] == []


def test_embedding_writes_nothing_outside_its_folder(good, tmp_path):
    commands.embed(good / "student", good / "data", out=tmp_path / "z", config=tiny.config())
    assert [p.suffix for p in (tmp_path / "z").iterdir()] == [".npz"]
    assert [p.name for p in tmp_path.iterdir()] == ["z"]

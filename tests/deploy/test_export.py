"""ONNX files decode as the network does, whole windows and bin by bin; what would not is never written."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from exportable import model as make

import tiny
from spikefield.deploy import export, onnx_graph
from spikefield.deploy.export import choose_session, export_onnx
from spikefield.errors import InputError
from spikefield.models.encoder import Encoder, EncoderConfig

onnxruntime = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
SIZES = [
    {},
    {"patch": 6, "n_heads": 1},
    {"causal": True},
    {"causal": True, "attention_bins": 5},
    {"causal": True, "attention_bins": 5, "look_ahead_bins": 3},
    {"causal": True, "attention_bins": 1, "patch": 2},
    {"causal": True, "attention_bins": 1, "look_ahead_bins": 1, "patch": 6},
]


def smooth(n_batch: int, n_bins: int, channels: int = 6) -> np.ndarray:
    rng = np.random.default_rng(n_bins)
    return np.cumsum(rng.normal(size=(n_batch, n_bins, channels)), axis=1).astype(np.float32) / 5


@torch.inference_mode()
def z_of(model, lfp: np.ndarray, session_id: str = "s0") -> np.ndarray:
    from spikefield.windows.batches import Batch

    batch = Batch(
        session_ids=(session_id,) * len(lfp),
        time_valid=torch.ones(lfp.shape[:2], dtype=torch.bool),
        lfp=torch.from_numpy(lfp),
        channel_valid=torch.ones(len(lfp), lfp.shape[2], dtype=torch.bool),
    )
    return model.encoder(batch).numpy()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 17), (2, 90)])
def test_whole_windows_of_any_size(size, shape):
    model = make(sessions=("s0", "s1"), **size)
    session = export.runtime(onnx_graph.offline_graph(model.encoder, "s1", 6, model.readouts["s1"]).SerializeToString())
    lfp = smooth(*shape)
    z, behavior = session.run(["z", "behavior"], {"lfp": lfp})
    expected = z_of(model, lfp, "s1")
    np.testing.assert_allclose(z, expected, atol=1e-5)
    readout = model.readouts["s1"]
    np.testing.assert_allclose(behavior, expected @ readout["weights"] + readout["intercept"], atol=1e-4)


@pytest.mark.parametrize("size", SIZES[3:])
def test_bin_by_bin_is_the_whole(size):
    model = make(**size)
    session = export.runtime(onnx_graph.step_graph(model.encoder, "s0", 6, model.readouts["s0"]).SerializeToString())
    lfp = smooth(1, 33)
    found = export.run_steps(session, lfp[0], patches=model.encoder.space.rows_of("s0")[1])
    ahead = model.encoder.config.transformer.look_ahead_bins
    np.testing.assert_allclose(found["z"], z_of(model, lfp)[0, : 33 - ahead], atol=1e-5)


def test_positions_stay_exact_after_a_day():
    """Attention sees only how far bins lie apart, so a stream that began a day ago decodes the same."""
    model = make(causal=True, attention_bins=5)
    session = export.runtime(onnx_graph.step_graph(model.encoder, "s0", 6, None).SerializeToString())
    lfp, day = smooth(1, 12)[0], 8_640_000

    class Late:
        get_inputs, get_outputs = session.get_inputs, session.get_outputs

        def run(self, names, given):
            return session.run(names, given | {"position": given["position"] + day * (given["position"] >= 0)})

    # the ring's slots follow from the position: a multiple of the ring's 4 bins keeps them where they were
    late = export.run_steps(Late(), lfp, patches=2)["z"][8:]
    np.testing.assert_allclose(late, export.run_steps(session, lfp, patches=2)["z"][8:], atol=1e-5)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    model = make(causal=True, attention_bins=5, sessions=("s0", "s1"))
    out = tmp_path_factory.mktemp("export") / "onnx"
    return model, out, export_onnx(model, "s0", out, int8=True)


def test_the_files_say_what_they_are(exported):
    model, out, done = exported
    assert sorted(p.name for p in out.iterdir()) == ["step.int8.onnx", "step.onnx", "window.int8.onnx", "window.onnx"]
    errors = {file.name: file.error for file in done}
    assert errors["window.onnx"] < 1e-4 and errors["step.onnx"] < 1e-4
    assert 1e-4 < errors["window.int8.onnx"] < 0.5
    for path in out.iterdir():
        about = onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map
        assert about["format"] == "spikefield-onnx" and about["session_id"] == "s0"
        assert float(about["bin_width_ms"]) == 20 and json.loads(about["behavior"]) == ["vx", "vy"]
        assert json.loads(about["channels"]) == list(model.chains["s0"].feature_names)
        scale = json.loads(about["standardisation"])["scale"]
        np.testing.assert_array_equal(scale, model.chains["s0"].steps[-1].scale)
        assert about["kind"] == path.name.split(".")[0]
    window = onnxruntime.InferenceSession(out / "window.onnx")
    assert window.get_inputs()[0].shape == ["batch", "time", 6]


def test_a_bidirectional_model_has_no_step(tmp_path):
    done = export_onnx(make(), "s0", tmp_path / "onnx", int8=False)
    assert [file.name for file in done] == ["window.onnx"]
    with pytest.raises(InputError, match="the streaming step needs causal attention with `attention_bins`"):
        onnx_graph.step_graph(make(causal=True).encoder, "s0", 6, None)


def test_a_graph_that_decodes_otherwise_is_never_written(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_graph, "_BASE", 5000.0)
    with pytest.raises(InputError, match=r"window.onnx differs from the network by .* of its spread"):
        export_onnx(make(), "s0", tmp_path / "onnx", int8=False)
    assert not list(tmp_path.iterdir())


def test_a_model_of_spikes_is_refused():
    encoder = Encoder(EncoderConfig("spikes", 8))
    encoder.add_session("s0", 8)
    with pytest.raises(InputError, match="export is for models of the field potential, this one reads spikes"):
        onnx_graph.offline_graph(encoder, "s0", 8, None)


def test_the_session_is_chosen_or_named():
    model = make(sessions=("s0", "s1"))
    assert choose_session(model, "s1") == "s1" and choose_session(make(), None) == "s0"
    with pytest.raises(InputError, match="`session` must be one of s0, s1, none was given"):
        choose_session(model, None)
    with pytest.raises(InputError, match="must be one of s0, s1, none is named 'x'. Name one with --session"):
        choose_session(model, "x")


@pytest.mark.parametrize(("package", "called"), [("onnx", "library"), ("onnxruntime", "runtime")])
def test_a_missing_package_names_the_extra(monkeypatch, package, called):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=r"pip install 'spikefield\[export\]'"):
        onnx_graph.library() if called == "library" else export.runtime(b"")


def run_example(name: str, *arguments) -> str:
    """Run an example where nothing but numpy and onnxruntime can be imported."""
    alone = "import sys, runpy; sys.modules.update(torch=None, spikefield=None, onnx=None); "
    run = f"{alone}sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-c", run, *map(str, (EXAMPLES / name, *arguments))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def stretch(exported, tmp_path_factory):
    """The file of a stretch before standardisation, its first bin, and the session."""
    model, _, _ = exported
    session, standard = tiny.binned(0), model.chains["s0"].steps[-1]
    first, last = max(session.stretches("train"), key=lambda s: s[1] - s[0])
    path = tmp_path_factory.mktemp("bins") / "bins.npz"
    np.savez(path, lfp=session.lfp[first:last] * standard.scale + standard.center)
    return path, first, last, session


def test_the_example_decodes_with_numpy_and_onnxruntime_alone(exported, stretch, tmp_path):
    model, out, _ = exported
    path, first, last, session = stretch
    said = run_example("decode_onnx.py", out / "window.onnx", path, tmp_path / "decoded.csv")
    decoded = np.loadtxt(tmp_path / "decoded.csv", delimiter=",", skiprows=1)
    assert decoded.shape == (last - first, 2) and "bins of 20.0 ms, session s0" in said
    z, readout = z_of(model, session.lfp[None, first : first + 40]), model.readouts["s0"]
    np.testing.assert_allclose(decoded[:40], z[0] @ readout["weights"] + readout["intercept"], atol=1e-3)


@pytest.mark.parametrize("ahead", [0, 2])
def test_the_live_example_decodes_bin_by_bin(exported, stretch, tmp_path, ahead):
    path, first, last, session = stretch
    model = make(causal=True, attention_bins=5, look_ahead_bins=ahead)
    export_onnx(model, "s0", tmp_path / "onnx", int8=False)
    run_example("decode_onnx_live.py", tmp_path / "onnx/step.onnx", path, tmp_path / "decoded.csv")
    decoded = np.loadtxt(tmp_path / "decoded.csv", delimiter=",", skiprows=1)
    z, readout = z_of(model, session.lfp[None, first:last])[0, : last - first - ahead], model.readouts["s0"]
    np.testing.assert_allclose(decoded, z @ readout["weights"] + readout["intercept"], atol=1e-3)

"""From a model folder to ONNX files that decode without this package: compared with the network, then written.

    window.onnx   whole windows, any batch and time
    step.onnx     one bin at a time with caches, where attention is causal (`spikefield.deploy.onnx_graph`)

Inputs are features as they leave the session's signal chain. The files carry what is needed to make and read them:
bin width, channels, session, behaviour, standardisation, the chain, and the weights' hash.
"""

import contextlib
import io
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

import spikefield.artifact as artifact
import spikefield.files as files
from spikefield.artifact import Model
from spikefield.deploy import onnx_graph
from spikefield.errors import InputError
from spikefield.signals.scaling import ZScoreStep

FORMAT_VERSION = 1
TOLERANCE = 1e-4
_STEP_BINS = 3


@dataclass(frozen=True)
class Exported:
    """One file: its name, and how far its result lies from the network's, relative to the spread of that."""

    name: str
    error: float


def choose_session(model: Model, session_id: str | None) -> str:
    """Return the session to decode: the one that is named, or the only one that the model was trained on.

    Raises:
        InputError: no such session, or none is named and there are several.
    """
    known = list(model.encoder.space.rows)
    if session_id is None and len(model.trained_on) == 1:
        session_id = model.trained_on[0]
    if session_id is None or session_id not in known:
        said = "was given" if session_id is None else f"is named {session_id!r}"
        raise InputError(f"`session` must be one of {', '.join(known)}, none {said}. Name one with --session.")
    return session_id


def export_onnx(model: Model, session_id: str, out: Path, *, int8: bool) -> list[Exported]:
    """Write the ONNX files of one session's model into a new folder; the folder appears whole.

    Raises:
        InputError: the model reads spikes, a package is missing, or a graph does not decode as the network does.
    """
    n_channels, readout = _n_channels(model, session_id), model.readouts.get(session_id)
    graphs = {"window": onnx_graph.offline_graph(model.encoder, session_id, n_channels, readout)}
    if model.encoder.reach is not None:
        graphs["step"] = onnx_graph.step_graph(model.encoder, session_id, n_channels, readout)
    done = []
    with files.whole(out) as folder:
        folder.mkdir(parents=True)
        for kind, graph in graphs.items():
            _describe(graph, model, session_id, kind)
            blobs = {f"{kind}.onnx": graph.SerializeToString()}
            if int8:
                blobs[f"{kind}.int8.onnx"] = quantised(blobs[f"{kind}.onnx"], folder, graph.metadata_props)
            for name, blob in blobs.items():
                error = _error(blob, kind, model, session_id)
                if not (error <= TOLERANCE or "int8" in name):
                    raise InputError(
                        f"{name} differs from the network by {error:.1e} of its spread. "
                        "Report this with the versions that `spikefield doctor` prints."
                    )
                (folder / name).write_bytes(blob)
                done.append(Exported(name, error))
    return done


def metadata(model: Model, session_id: str, kind: str) -> dict[str, Any]:
    """Return what a file says about itself, as JSON-ready values."""
    size, chain = model.encoder.config.transformer, model.chains.get(session_id)
    standard = chain.steps[-1] if chain and chain.steps and isinstance(chain.steps[-1], ZScoreStep) else None
    return {
        "format": "spikefield-onnx",
        "format_version": FORMAT_VERSION,
        "kind": kind,
        "name": model.name,
        "session_id": session_id,
        "bin_width_ms": model.bin_width_ms,
        "window_bins": model.window_bins,
        "channels": model.sessions.get(session_id, {}).get("channels", []),
        "behavior": model.sessions.get(session_id, {}).get("behavior", []),
        "standardisation": {"center": standard.center.tolist(), "scale": standard.scale.tolist()} if standard else None,
        "chain": chain.describe() if chain else None,
        "causal": size.causal,
        "attention_bins": size.attention_bins,
        "look_ahead_bins": size.look_ahead_bins,
        "ring_bins": onnx_graph.ring_bins(model.encoder) if kind == "step" else None,
        "patches": model.encoder.space.rows_of(session_id)[1],
        "weights": artifact.weights_hash(model.network),
        "license": "apache-2.0",
    }


def runtime(blob: bytes) -> Any:
    """Return an onnxruntime session on one thread.

    Raises:
        InputError: the package is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError("export needs onnxruntime. Install it with: pip install 'spikefield[export]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(blob, options, providers=["CPUExecutionProvider"])


class Steps:
    """The step of a file, bin after bin: it owns the caches, and writes the ring."""

    def __init__(self, session: Any, *, patches: int) -> None:
        self._session, self._patches = session, patches
        self.outputs = [o.name for o in session.get_outputs()]
        shapes = {i.name: i.shape for i in session.get_inputs() if i.name not in ("lfp", "position")}
        self._caches = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
        self.ahead = shapes["waiting"][0] if "waiting" in shapes else 0
        self._ring_bins = shapes["key_0"][2] // patches
        self._position = 0

    def step(self, lfp: Float[np.ndarray, " channel"]) -> dict[str, np.ndarray]:
        """Take a bin of features (channel,) and return all outputs; z and behaviour belong `ahead` bins before it."""
        given = {"lfp": lfp[None].astype(np.float32), "position": np.array([self._position]), **self._caches}
        found = dict(zip(self.outputs, self._session.run(None, given), strict=True))
        for name in self._caches:
            if (whole := f"next_{name}") in found:
                self._caches[name] = found[whole]
                continue
            bin_index = self._position - (0 if name.endswith("_0") else self.ahead)
            first = bin_index % self._ring_bins * self._patches
            slots = slice(first, first + self._patches)
            place = (..., slots) if name.startswith("key") else (slice(None), slots)
            self._caches[name][place] = found[f"new_{name}"]
        self._position += 1
        return found


def run_steps(session: Any, features: Float[np.ndarray, "bin channel"], *, patches: int) -> dict[str, np.ndarray]:
    """Run the step over features (bin, channel) of a stretch; return z and behaviour of each, without look-ahead."""
    steps = Steps(session, patches=patches)
    rows = [steps.step(lfp) for lfp in features]
    kept = [name for name in ("z", "behavior") if name in steps.outputs]
    return {name: np.stack([row[name][0] for row in rows])[steps.ahead :] for name in kept}


def _n_channels(model: Model, session_id: str) -> int:
    channels = model.sessions.get(session_id, {}).get("channels")
    if not channels:
        raise InputError(f"the model does not know the channels of session {session_id!r}. Choose another session.")
    return len(channels)


def _describe(graph: Any, model: Model, session_id: str, kind: str) -> None:
    for key, value in metadata(model, session_id, kind).items():
        entry = graph.metadata_props.add()
        entry.key, entry.value = key, value if isinstance(value, str) else json.dumps(value)


def _error(blob: bytes, kind: str, model: Model, session_id: str) -> float:
    """Return the largest difference from the network on smooth noise, relative to each output's spread."""
    session = runtime(blob)
    n_channels = _n_channels(model, session_id)
    generator = np.random.default_rng(0)
    if kind == "step":
        n_bins = _STEP_BINS * onnx_graph.ring_bins(model.encoder) + 7
        lfp = _noise(generator, 1, n_bins, n_channels)
        expected = _network(model, session_id, lfp)
        ahead = model.encoder.config.transformer.look_ahead_bins
        found = run_steps(session, lfp[0], patches=model.encoder.space.rows_of(session_id)[1])
        return max(_apart(found[k], v[0, : n_bins - ahead]) for k, v in expected.items())
    errors = []
    for n_batch, n_bins in ((1, model.window_bins), (3, model.window_bins // 2 + 1)):
        lfp = _noise(generator, n_batch, n_bins, n_channels)
        found = session.run(None, {"lfp": lfp})
        expected = _network(model, session_id, lfp)
        errors += [_apart(f, expected[o.name]) for f, o in zip(found, session.get_outputs(), strict=True)]
    return max(errors)


def _noise(generator: np.random.Generator, n_batch: int, n_bins: int, n_channels: int) -> np.ndarray:
    return generator.normal(size=(n_batch, n_bins, n_channels)).astype(np.float32)


def _apart(found: np.ndarray, expected: np.ndarray) -> float:
    spread = max(float(expected.std()), 1e-12)
    return float(np.abs(found - expected).max()) / spread


@torch.inference_mode()
def _network(model: Model, session_id: str, lfp: np.ndarray) -> dict[str, np.ndarray]:
    windows = SimpleNamespace(
        session_ids=(session_id,) * len(lfp),
        time_valid=torch.ones(lfp.shape[:2], dtype=torch.bool),
        counts=None,
        unit_valid=None,
        lfp=torch.from_numpy(lfp),
        channel_valid=torch.ones(len(lfp), lfp.shape[2], dtype=torch.bool),
    )
    z = model.encoder.eval()(windows).numpy()
    if (readout := model.readouts.get(session_id)) is None:
        return {"z": z}
    return {"z": z, "behavior": z @ readout["weights"] + readout["intercept"]}


def quantised(blob: bytes, folder: Path, properties: Any = ()) -> bytes:
    """Return the graph with its matrices in int8, activations quantised as they come."""
    with _quiet():
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic

        before, after = folder / ".float.onnx", folder / ".int8.onnx"
        before.write_bytes(blob)
        quantize_dynamic(before, after, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul"])
        model = onnx.load(after)
    for path in (before, after):
        path.unlink()
    del model.metadata_props[:]
    model.metadata_props.extend(properties)
    return model.SerializeToString()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hold back the advice that the quantiser prints and logs."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        root.setLevel(level)

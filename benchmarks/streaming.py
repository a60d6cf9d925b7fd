"""Time one live bin: 96 channels at 1 kHz in bins of 10 ms, from raw samples to behaviour, on one thread.

Beside it, for each preset, the same chain before onnxruntime's step (fp32 and int8, where it is installed), the twin
that runs the network over the whole window for every bin, the parts of the way, and the floor: the time that reading
the weights and the ring once takes at this machine's memory bandwidth. All of them take turns in one run. Weights are
random, which costs what trained ones cost. `paper-1` is the published size with one token a bin. The clock counts what
other processes take; processor time does not. Last line: JSON.

    python benchmarks/streaming.py [--bins 3000] [--attention-s 1]
"""

import argparse
import gc
import importlib.util
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import yaml

from spikefield.artifact import Model
from spikefield.config import ExperimentConfig, preset_path
from spikefield.deploy import export, onnx_graph
from spikefield.deploy.streaming import StreamingDecoder
from spikefield.deploy.threads import one_thread
from spikefield.models.encoder import Encoder, EncoderConfig
from spikefield.models.transformer import TransformerConfig
from spikefield.objectives.distillation import DistillationConfig, Student
from spikefield.signals.chain import fit_chain
from spikefield.windows.batches import Batch, collate

N_CHANNELS, RATE_HZ, BIN_MS = 96, 1000.0, 10.0
A_BIN, WARM_BINS, RECOMPUTED = round(RATE_HZ * BIN_MS / 1000), 400, 40
BLOCK, COLD_BINS = 250, 5  # engines take turns; what the others left in the caches is gone after a few bins
KEYS = ("p50_ms", "p99_ms", "ratio_to_recompute", "p99_processor_ms", "floor_ms")


def recording(seconds: float, seed: int = 0) -> np.ndarray:
    """Return (sample, channel) of noise in volts, slow waves the strongest."""
    rng = np.random.default_rng(seed)
    walk = np.cumsum(rng.normal(size=(round(seconds * RATE_HZ), N_CHANNELS)), axis=0)
    return 1e-5 * (walk[200:] - walk[:-200])


def model_of(encoder_config: EncoderConfig) -> Model:
    """Return a model with random weights that knows one session."""
    torch.manual_seed(0)
    lfp, ids = recording(30.0), tuple(f"c{i}" for i in range(N_CHANNELS))
    n_bins = len(lfp) // A_BIN
    chain = fit_chain(
        "realtime", lfp, rate_hz=RATE_HZ, start_s=0.0, channel_ids=ids, bin_width_ms=BIN_MS, grid_start_s=0.0,
        n_bins=n_bins, within=np.ones(n_bins, bool),
    )  # fmt: skip
    encoder = Encoder(encoder_config)
    encoder.add_session("live", N_CHANNELS)
    dim = encoder_config.transformer.dim
    student = Student(encoder, DistillationConfig(), n_channels=N_CHANNELS, teacher_dim=dim).eval()
    readout = {"weights": np.random.default_rng(1).normal(size=(dim, 2)), "intercept": np.zeros(2)}
    return Model(
        name="random", network=student, trained_on=("live",), bin_width_ms=BIN_MS, window_bins=500, seed=0,
        sessions={"live": {"subject": "s", "channels": list(ids), "behavior": ["vx", "vy"]}},
        chains={"live": chain}, readouts={"live": readout},
    )  # fmt: skip


def encoder_of(preset: str, *, attention_s: float = ExperimentConfig.attention_s) -> EncoderConfig:
    """Return the causal student of a preset."""
    given = yaml.safe_load(preset_path(preset).read_text())
    size = TransformerConfig(**given["transformer"], causal=True, attention_bins=round(attention_s * 1000 / BIN_MS))
    return EncoderConfig("lfp", given.get("lfp_patch") or N_CHANNELS, transformer=size)


class Engine(NamedTuple):
    """Something that takes the samples of a bin; `took_ms` and `busy_ms` are clock and processor time of each."""

    push: Callable[[np.ndarray, np.ndarray], object]
    took_ms: list[float]
    busy_ms: list[float]


def engines_of(model: Model) -> dict[str, Engine]:
    """Return the live decoder, and where onnxruntime is here the same chain before its step, in fp32 and int8."""
    found: dict[str, Callable[[np.ndarray, np.ndarray], object]] = {"": StreamingDecoder(model, "live").push}
    if importlib.util.find_spec("onnxruntime") and importlib.util.find_spec("onnx"):
        blob = onnx_graph.step_graph(model.encoder, "live", N_CHANNELS, model.readouts["live"]).SerializeToString()
        with tempfile.TemporaryDirectory() as folder:
            blobs = {"onnx": blob, "onnx-int8": export.quantised(blob, Path(folder))}
        patches = model.encoder.space.rows_of("live")[1]
        for name, content in blobs.items():
            found[name] = on_onnx(model, export.Steps(export.runtime(content), patches=patches))
    return {name: Engine(push, [], []) for name, push in found.items()}


def on_onnx(model: Model, steps: export.Steps) -> Callable[[np.ndarray, np.ndarray], object]:
    """Return what takes samples through the signal chain and onnxruntime's step."""
    stream = model.chains["live"].stream()

    def push(samples: np.ndarray, _: np.ndarray) -> object:
        return [steps.step(row)["behavior"] for row in stream.push(samples)]

    return push


def side_by_side(model: Model, engines: dict[str, Engine], n_bins: int) -> np.ndarray:
    """Give every engine the same bins, in turns of a block, and return the times of the recompute twin between them."""
    lfp = recording((n_bins + WARM_BINS) * BIN_MS / 1000 + 0.2, seed=2).astype(np.float32)
    times_s, n_blocks = np.arange(len(lfp)) / RATE_HZ, -(-(n_bins + WARM_BINS) // BLOCK)
    recompute, again_ms = recompute_of(model), []
    gc.collect()
    gc.freeze()
    for block in range(n_blocks):
        bins = range(block * BLOCK, min((block + 1) * BLOCK, n_bins + WARM_BINS))
        for engine in engines.values():
            for i in bins:
                piece = slice(i * A_BIN, (i + 1) * A_BIN)
                start_s, busy_s = time.perf_counter(), time.thread_time()
                engine.push(lfp[piece], times_s[piece])
                if i >= WARM_BINS and i - bins[0] >= COLD_BINS:
                    engine.busy_ms.append(1000 * (time.thread_time() - busy_s))
                    engine.took_ms.append(1000 * (time.perf_counter() - start_s))
        for _ in range(-(-RECOMPUTED // n_blocks)):
            start_s = time.perf_counter()
            recompute()
            again_ms.append(1000 * (time.perf_counter() - start_s))
    gc.unfreeze()
    return np.array(again_ms)


def recompute_of(model: Model) -> Callable[[], object]:
    """Return what runs the network over the whole window, as for one new bin."""
    size = model.encoder.config.transformer
    assert size.attention_bins is not None
    features = np.random.default_rng(0).normal(size=(size.attention_bins, N_CHANNELS)).astype(np.float32)
    weights, batch = torch.from_numpy(model.readouts["live"]["weights"]).float(), _batch(features)

    def run() -> object:
        with torch.inference_mode():
            return model.encoder(batch)[0, -1] @ weights

    return run


def difference(model: Model) -> float:
    """Return how far the live z lies from one run over all bins."""
    lfp = recording(WARM_BINS * BIN_MS / 1000 + 0.2, seed=2)[: WARM_BINS * A_BIN].astype(np.float32)
    chain = model.chains["live"].with_clock(rate_hz=RATE_HZ, start_s=0.0, grid_start_s=0.0, n_bins=WARM_BINS)
    with torch.inference_mode():
        z = model.encoder(_batch(chain.apply(lfp)))[0].numpy()
    return float(np.abs(StreamingDecoder(model, "live").push(lfp).z - z).max())


def parts_ms(model: Model, n_bins: int = 500) -> dict[str, float]:
    """Return the median time of signal chain and network alone."""
    decoder = StreamingDecoder(model, "live")
    lfp = recording(n_bins * BIN_MS / 1000 + 0.2, seed=3)
    stream, network = model.chains["live"].stream(), decoder._network
    chain_s, network_s = [], []
    for i in range(0, n_bins * A_BIN, A_BIN):
        start_s = time.perf_counter()
        features = stream.push(lfp[i : i + A_BIN])[0]
        middle_s = time.perf_counter()
        network.step(features)
        chain_s.append(middle_s - start_s)
        network_s.append(time.perf_counter() - middle_s)
    return {"chain": 1000 * float(np.median(chain_s)), "network": 1000 * float(np.median(network_s))}


def floor_ms(model: Model) -> tuple[float, float]:
    """Return the megabytes that a bin must read, and how long that takes at memory bandwidth."""
    size = model.encoder.config.transformer
    assert size.attention_bins is not None
    n_tokens = size.attention_bins * -(-N_CHANNELS // model.encoder.config.patch_size)
    n_values = sum(p.numel() for p in model.encoder.parameters()) + 2 * size.n_layers * n_tokens * size.dim
    large, times = np.ones(1 << 25, np.float32), []
    for _ in range(10):
        start_s = time.perf_counter()
        large.sum()
        times.append(time.perf_counter() - start_s)
    return 4e-6 * n_values, 1000 * min(times) * 4 * n_values / large.nbytes


def _batch(features: np.ndarray) -> Batch:
    return collate([("live", {"lfp": torch.from_numpy(np.ascontiguousarray(features))})])


def main() -> None:
    """Time all presets and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bins", type=int, default=3000)
    parser.add_argument("--attention-s", type=float, default=ExperimentConfig.attention_s)
    options = parser.parse_args()
    one_thread()
    kinds = {name: encoder_of(name, attention_s=options.attention_s) for name in ("compact", "paper")}
    kinds["paper-1"] = replace(kinds["paper"], patch_size=N_CHANNELS)
    summary: dict[str, dict[str, float]] = {key: {} for key in KEYS}
    for name, config in kinds.items():
        model = model_of(config)
        engines = engines_of(model)
        again = float(np.median(side_by_side(model, engines, options.bins)))
        parts, (megabytes, floor) = parts_ms(model), floor_ms(model)
        for which, engine in engines.items():
            called = f"{name}-{which}" if which else name
            (p50, p99), (busy50, busy99) = (np.percentile(v, [50, 99]) for v in (engine.took_ms, engine.busy_ms))
            print(
                f"{called}: p50 {p50:.2f} ms, p99 {p99:.2f}, max {max(engine.took_ms):.2f} of {len(engine.took_ms)} "
                f"bins, processor {busy50:.2f} and {busy99:.2f}; window recomputed {again:.1f} ms, {again / p50:.0f} x"
            )
            for key, value in zip(KEYS, (p50, p99, again / p50, busy99), strict=False):
                summary[key][called] = round(float(value), 3)
        summary["floor_ms"][name] = round(floor, 3)
        print(
            f"{name}: chain {parts['chain']:.2f} ms, network {parts['network']:.2f}; floor {floor:.2f} ms "
            f"({megabytes:.1f} MB); largest difference from offline {difference(model):.1e}"
        )
    print(json.dumps(summary))


if __name__ == "__main__":
    main()

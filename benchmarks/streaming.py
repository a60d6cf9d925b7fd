"""Time one live bin: 96 channels at 1 kHz in bins of 10 ms, from raw samples to behaviour, on one thread.

Beside it, for each preset, the twin that runs the network over the whole window for every bin, the parts of the way,
and the floor: the time that reading the weights and the ring once takes at this machine's memory bandwidth. Weights are
random, which costs what trained ones cost. `paper-1` is the published size with one token a bin. Last line: JSON.

    python benchmarks/streaming.py [--bins 3000] [--attention-s 1]
"""

import argparse
import gc
import json
import time
from dataclasses import replace

import numpy as np
import torch
import yaml
from threadpoolctl import threadpool_limits

from spikefield.artifact import Model
from spikefield.config import ExperimentConfig, preset_path
from spikefield.deploy.streaming import StreamingDecoder
from spikefield.models.encoder import Encoder, EncoderConfig
from spikefield.models.transformer import TransformerConfig
from spikefield.objectives.distillation import DistillationConfig, Student
from spikefield.signals.chain import fit_chain
from spikefield.windows.batches import Batch, collate

N_CHANNELS, RATE_HZ, BIN_MS = 96, 1000.0, 10.0
A_BIN, WARM_BINS, RECOMPUTED = round(RATE_HZ * BIN_MS / 1000), 400, 40


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


def streamed_ms(model: Model, n_bins: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Return time and processor time of every push of a bin, and how far z lies from one run over all bins."""
    decoder = StreamingDecoder(model, "live")
    lfp = recording((n_bins + WARM_BINS) * BIN_MS / 1000 + 0.2, seed=2).astype(np.float32)
    times_s = np.arange(len(lfp)) / RATE_HZ
    pieces = [slice(i, i + A_BIN) for i in range(0, len(lfp), A_BIN)]
    decoded, busy_s = [], []
    for piece in pieces:
        start_s = time.thread_time()
        decoded.append(decoder.push(lfp[piece], times_s[piece]))
        busy_s.append(time.thread_time() - start_s)
    chain = model.chains["live"].with_clock(rate_hz=RATE_HZ, start_s=0.0, grid_start_s=0.0, n_bins=WARM_BINS)
    features = chain.apply(lfp[: WARM_BINS * A_BIN])
    with torch.inference_mode():
        z = model.encoder(_batch(features))[0].numpy()
    difference = np.abs(np.concatenate([d.z for d in decoded[:WARM_BINS]]) - z).max()
    took_ms = np.array([d.latency_ms for d in decoded[WARM_BINS:]])
    return took_ms, 1000 * np.array(busy_s[WARM_BINS:]), float(difference)


def recomputed_ms(model: Model) -> np.ndarray:
    """Return the time of running the network over the whole window, as for one new bin."""
    size = model.encoder.config.transformer
    assert size.attention_bins is not None
    features = np.random.default_rng(0).normal(size=(size.attention_bins, N_CHANNELS)).astype(np.float32)
    weights, times = torch.from_numpy(model.readouts["live"]["weights"]).float(), []
    batch = _batch(features)
    with torch.inference_mode():
        for _ in range(RECOMPUTED):
            start_s = time.perf_counter()
            _ = model.encoder(batch)[0, -1] @ weights
            times.append(time.perf_counter() - start_s)
    return 1000 * np.array(times)


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
    torch.set_num_threads(1)
    summary: dict[str, dict[str, float]] = {"p50_ms": {}, "p99_ms": {}, "ratio_to_recompute": {}, "floor_ms": {}}
    kinds = {name: encoder_of(name, attention_s=options.attention_s) for name in ("compact", "paper")}
    kinds["paper-1"] = replace(kinds["paper"], patch_size=N_CHANNELS)
    with threadpool_limits(1):
        for name, config in kinds.items():
            model = model_of(config)
            gc.collect()
            took, busy, difference = streamed_ms(model, options.bins)
            again, parts, (megabytes, floor) = recomputed_ms(model), parts_ms(model), floor_ms(model)
            p50, p99 = np.percentile(took, [50, 99])
            ratio = float(np.median(again)) / p50
            print(
                f"{name}: p50 {p50:.2f} ms, p99 {p99:.2f}, max {took.max():.2f} of {len(took)} bins, "
                f"processor {np.median(busy):.2f} and {np.percentile(busy, 99):.2f} "
                f"(chain {parts['chain']:.2f}, network {parts['network']:.2f}); window recomputed "
                f"{np.median(again):.1f} ms, {ratio:.0f} x; floor {floor:.2f} ms ({megabytes:.1f} MB); "
                f"largest difference from offline {difference:.1e}"
            )
            for key, value in zip(summary, (p50, p99, ratio, floor), strict=True):
                summary[key][name] = round(float(value), 3)
    print(json.dumps(summary))


if __name__ == "__main__":
    main()

"""Measure what a step of autoencoding costs by sessions, channels, width, depth and window; fit a power law to each.

226 made-up sessions (2 subjects x 113) stand beside 4, interleaved. Last line: JSON with time and memory a token, the
growth of memory with a session, and the exponent of each law.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/scaling.py
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from spikefield.config import ExperimentConfig, lfp_encoder
from spikefield.experiments.planning import described
from spikefield.experiments.step_cost import measure_step, saved_bytes
from spikefield.models.encoder import Encoder
from spikefield.models.transformer import TransformerConfig
from spikefield.objectives.autoencoding import MaskedAutoencoder
from spikefield.training.loop import loaders
from spikefield.training.optimiser import OptimiserConfig, build_optimiser
from spikefield.windows.binned import BinnedSession

PACE = OptimiserConfig(batch_windows=6)
BASE = {"channels": 64, "width": 64, "depth": 2, "window": 125}
SWEPT = {
    "channels": (32, 64, 128, 256),
    "width": (32, 64, 128, 256),
    "depth": (1, 2, 4, 8),
    "window": (64, 125, 250, 500),
}
PATCH = 32


def config_of(width: int, depth: int) -> ExperimentConfig:
    """Return an experiment of this width and depth with patches of 32 channels."""
    size = TransformerConfig(dim=width, n_layers=depth, n_heads=4)
    return ExperimentConfig(transformer=size, lfp_patch=PATCH)


def corpus(n_sessions: int, channels: int) -> list[BinnedSession]:
    """Return made-up sessions of two subjects that share their numbers: only names and space embeddings differ."""
    (one,) = described(config_of(64, 2), sessions=1, minutes=2.0, units=8, channels=channels).sessions
    return [replace(one, session_id=f"s{i:03d}", subject_id=f"subject{i % 2}") for i in range(n_sessions)]


class Trained:
    """A network in training on some sessions; `step` times one step on a fresh batch."""

    def __init__(self, sessions: Sequence[BinnedSession]) -> None:
        config = config_of(BASE["width"], BASE["depth"])
        self.network = MaskedAutoencoder(Encoder(lfp_encoder(config, sessions)), config.autoencoding)
        for session in sessions:
            self.network.encoder.add_session(session.session_id, BASE["channels"])
        self.train, _ = loaders(
            sessions, modalities=("lfp",), window_bins=BASE["window"], batch_windows=PACE.batch_windows, seed=0
        )
        self.batches = iter(self.train)
        self.moves = build_optimiser(self.network, PACE)

    def step(self) -> float:
        start = time.perf_counter()
        batch = next(self.batches, None)
        if batch is None:
            self.batches = iter(self.train)
            batch = next(self.batches)
        self.moves.zero_grad()
        self.network(batch).backward()
        self.moves.step()
        return time.perf_counter() - start

    def bytes(self) -> int:
        """Return the memory of weights, gradients and moments, and of what a step keeps."""
        batch = next(iter(self.train))
        weights = sum(p.numel() for p in self.network.parameters())
        return 16 * weights + saved_bytes(self.network, lambda: self.network(batch))


def by_sessions(repeats: int) -> dict[str, Any]:
    """Compare 4 and 226 sessions, in turns."""
    few, many = (Trained(corpus(n, BASE["channels"])) for n in (4, 226))
    for one in (few, many):
        one.step()
    few_times, many_times = [], []
    for i in range(repeats):
        for one, times in ((few, few_times), (many, many_times))[:: 1 if i % 2 else -1]:
            times.append(one.step())
    few_s, many_s = statistics.median(few_times), statistics.median(many_times)
    growth = (many.bytes() - few.bytes()) / (226 - 4)
    patches = BASE["channels"] // PATCH
    return {
        "ratio_of_cost_per_token_226_to_4": round(many_s / few_s, 3),
        "step_s": round(few_s, 4),
        "bytes_a_session": round(growth),
        "bytes_of_its_space_embedding": 16 * patches * BASE["width"],
    }


def sweep(name: str, repeats: int) -> dict[str, Any]:
    """Measure a step at every value of one axis, the others at their base; the law is time ~ value ** exponent."""
    rows = []
    for value in SWEPT[name]:
        at = BASE | {name: value}
        config = config_of(at["width"], at["depth"])
        sessions = corpus(1, at["channels"])
        steps = []
        for _ in range(repeats):
            network = MaskedAutoencoder(Encoder(lfp_encoder(config, sessions)), config.autoencoding)
            steps.append(measure_step(network, sessions, window_bins=at["window"], optimiser=PACE))
        seconds = min(s.seconds for s in steps)
        rows.append(
            {
                "value": value,
                "step_s": round(seconds, 4),
                "gflop": round(steps[0].flops / 1e9, 3),
                "mb_kept": round(steps[0].activation_bytes / 1e6, 1),
                "weights": steps[0].parameters,
                "tokens": steps[0].tokens,
            }
        )
    laws = {
        key: round(float(np.polyfit(np.log(SWEPT[name]), np.log([r[key] for r in rows]), 1)[0]), 2)
        for key in ("step_s", "gflop", "mb_kept", "weights")
    }
    return {"rows": rows, "exponents": laws}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=60)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    found = {"sessions": by_sessions(given.repeats)} | {name: sweep(name, 2) for name in SWEPT}
    for name in SWEPT:
        print(f"{name:>8} {'s/step':>8} {'GFLOP':>8} {'MB kept':>8} {'weights':>10} {'tokens':>7}")
        for r in found[name]["rows"]:
            numbers = " ".join(f"{r[key]:>8}" for key in ("value", "step_s", "gflop", "mb_kept"))
            print(f"{numbers} {r['weights']:>10,} {r['tokens']:>7}")
        print("exponents", found[name]["exponents"])
    print(json.dumps(found))


if __name__ == "__main__":
    main()

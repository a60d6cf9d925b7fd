"""Time an epoch of distillation with the teacher's words from the cache, and with the teacher run in every step.

Both train the same student of the `compact` size on one simulated session (about 70 units, 96 channels), one thread,
interleaved; also how far the losses move by half precision. Last line: JSON.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from spikefield.config import ExperimentConfig, lfp_encoder, spike_encoder
from spikefield.evaluation.embedding import embed
from spikefield.models.encoder import Encoder
from spikefield.models.transformer import TransformerConfig
from spikefield.objectives.distillation import DistillationConfig, Student
from spikefield.recordings.simulator import SimulatorConfig, simulate_sessions
from spikefield.training.loop import loaders
from spikefield.training.optimiser import OptimiserConfig, build_optimiser
from spikefield.training.teacher_cache import teacher_representations
from spikefield.windows.batches import WindowDataset, collate
from spikefield.windows.binned import BinnedSession, BinningConfig, bin_session

WINDOW, BATCH = 125, 8


def session_of(minutes: float) -> BinnedSession:
    """Return one simulated session on bins of 20 ms."""
    (simulated,) = simulate_sessions(SimulatorConfig(n_sessions=1, session_s=60 * minutes), seed=0)
    return bin_session(simulated.to_data(), config=BinningConfig(bin_width_ms=20.0))


def epoch_s(student: Student, session: BinnedSession, teacher: Encoder | None, targets: dict[str, np.ndarray]) -> float:
    """Train one epoch and return its seconds; with a teacher, it speaks in every step."""
    train, _ = loaders([session], modalities=("lfp",), window_bins=WINDOW, batch_windows=BATCH, seed=0, targets=targets)
    if teacher is not None:
        train = torch.utils.data.DataLoader(
            WindowDataset([session], modalities=("spikes", "lfp")),
            batch_sampler=train.batch_sampler,
            collate_fn=collate,
        )
    optimiser = build_optimiser(student, OptimiserConfig())
    start = time.perf_counter()
    for batch in train:
        wanted = batch.targets
        if teacher is not None:
            with torch.no_grad():
                wanted = teacher(batch)
        reconstruction, alignment = student(batch, wanted)
        optimiser.zero_grad()
        (reconstruction + 5 * alignment).backward()
        optimiser.step()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = ExperimentConfig(transformer=TransformerConfig(dim=128, n_layers=4, n_heads=4))
    session = session_of(given.minutes)
    teacher = Encoder(spike_encoder(config, [session]))
    teacher.add_session(session.session_id, session.require("spikes").shape[1])
    teacher.eval().requires_grad_(False)
    student = Student(
        Encoder(lfp_encoder(config, [session])),
        DistillationConfig(),
        n_channels=session.require("lfp").shape[1],
        teacher_dim=128,
    )
    student.encoder.add_session(session.session_id, session.require("lfp").shape[1])
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        start = time.perf_counter()
        teacher_representations(teacher, [session], window_bins=WINDOW, cache=cache)
        fill_s = time.perf_counter() - start
        start = time.perf_counter()
        half = teacher_representations(teacher, [session], window_bins=WINDOW, cache=cache)
        read_s = time.perf_counter() - start
        times = [
            (epoch_s(student, session, None, half), epoch_s(student, session, teacher, {}))
            for _ in range(given.repeats)
        ]
        size = sum(p.stat().st_size for p in cache.iterdir())
    whole = np.nan_to_num(embed(teacher, session, window_bins=WINDOW, kinds=("train", "valid")))
    lengths = np.linalg.norm(whole, axis=1), np.linalg.norm(np.float64(half[session.session_id]), axis=1)
    inside = lengths[0] > 0
    cosine = (whole * np.float64(half[session.session_id])).sum(1)[inside] / (lengths[0] * lengths[1])[inside]
    with_cache, without = (statistics.median(t) for t in zip(*times, strict=True))
    found = {
        "with_cache_s": round(with_cache, 2),
        "without_s": round(without, 2),
        "ratio": round(with_cache / without, 3),
        "fill_s": round(fill_s, 2),
        "read_s": round(read_s, 3),
        "bytes": size,
        "largest_turn_by_half_precision": float(1 - cosine.min()),
        "units": session.require("spikes").shape[1],
        "channels": session.require("lfp").shape[1],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()

"""Flint 2012 sessions: MATLAB v5, one or several subjects a file, trials with gaps between them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import scipy.io

LFP_RATE_HZ, TONE_HZ = 2000, 9.0


@dataclass
class Truth:
    """One subject: the trials' clocks, the hand, spikes that lie in a trial, and which entries have LFP."""

    starts_s: list[float]
    bins: list[int]
    velocity: np.ndarray
    lfp_entries: list[int]
    spikes: dict[int, np.ndarray] = field(default_factory=dict)
    outside: int = 0

    @property
    def ends_s(self) -> list[float]:
        return [start + n / 100 for start, n in zip(self.starts_s, self.bins, strict=True)]


def lfp(times_s: np.ndarray, entry: int) -> np.ndarray:
    """The field potential of an entry at any time: one tone whose phase runs on through gaps."""
    return (1 + entry) * np.sin(2 * np.pi * TONE_HZ * times_s + entry)


def velocity(times_s: np.ndarray) -> np.ndarray:
    return np.column_stack([np.sin(3 * times_s), np.cos(2 * times_s), np.zeros(len(times_s))])


def write(
    path: Path,
    *,
    subjects: int = 1,
    gaps_s: tuple[float, ...] = (0.0, 0.73, 0.0, 2.5),
    bins: tuple[int, ...] = (60, 45, 80, 50, 70),
    neurons: int = 6,
    compressed: bool = True,
    cells: bool = False,
    field_potential: Callable[[np.ndarray, int], np.ndarray] = lfp,
    seed: int = 0,
) -> list[Truth]:
    """Write a file; entries 1, 2 and 4 of Neuron hold LFP, whose lengths differ by a few samples."""
    generator = np.random.default_rng(seed)
    truths = [_truth(gaps_s, bins, 5.0 + 100 * s) for s in range(subjects)]
    content = np.empty((subjects, 1), dtype=[("Trial", object)])
    for s, truth in enumerate(truths):
        trials = [_trial(truth, t, neurons, field_potential, generator) for t in range(len(bins))]
        content[s, 0]["Trial"] = _struct(trials, cells=cells)
        truth.spikes = {k: np.sort(v) for k, v in truth.spikes.items()}
    scipy.io.savemat(path, {"Subject": content}, do_compression=compressed)
    return truths


def _truth(gaps_s: tuple[float, ...], bins: tuple[int, ...], start_s: float) -> Truth:
    starts = [start_s]
    for n, gap in zip(bins[:-1], gaps_s, strict=True):
        starts.append(round(starts[-1] + n / 100 + gap, 6))
    clocks = [start + np.arange(n) / 100 for start, n in zip(starts, bins, strict=True)]
    return Truth(starts, list(bins), np.vstack([velocity(c)[:, :2] for c in clocks]), [1, 2, 4])


def _trial(truth: Truth, index: int, neurons: int, planted: Callable, generator: np.random.Generator) -> dict:
    start, n = truth.starts_s[index], truth.bins[index]
    times = start + np.arange(n) / 100
    entries = []
    for k in range(neurons):
        inside = np.sort(generator.uniform(start, start + n / 100 - 1e-6, 8 + k))
        outside = [start - 0.05] if k == 0 and index == 2 else []
        truth.outside += len(outside)
        truth.spikes[k] = np.concatenate([truth.spikes.get(k, np.empty(0)), inside])
        samples = 20 * n + {1: 0, 2: -3, 4: 2}.get(k, 0)
        field_potential = (
            planted(start + np.arange(samples) / LFP_RATE_HZ, k) if k in truth.lfp_entries else np.empty((0, 0))
        )
        entries.append(
            {
                "Spike": np.concatenate([outside, inside])[:, None],
                "LFP": field_potential.reshape(-1, 1) if k in truth.lfp_entries else field_potential,
            }
        )
    return {
        "Time": times[:, None],
        "HandPos": velocity(times),
        "HandVel": velocity(times),
        "TargetPos": np.where(np.arange(n)[:, None] < n // 2, np.nan, 3.0) * np.ones((1, 2)),
        "Condition": "good" if index else "bad",
        "Neuron": _struct(entries),
    }


def _struct(records: list[dict], *, cells: bool = False) -> np.ndarray:
    """A struct array (n, 1), or a cell array of structs."""
    if cells:
        content = np.empty((len(records), 1), object)
        content[:, 0] = records
        return content
    content = np.empty((len(records), 1), dtype=[(name, object) for name in records[0]])
    for i, record in enumerate(records):
        for name, value in record.items():
            content[i, 0][name] = value
    return content

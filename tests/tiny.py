"""Tiny sessions that share one latent: spikes, field and behaviour of a minute or less, made in memory."""

import numpy as np

from spikefield.config import ExperimentConfig
from spikefield.models.transformer import TransformerConfig
from spikefield.objectives.autoencoding import AutoencodingConfig
from spikefield.recordings.arrays import from_arrays
from spikefield.recordings.session import save
from spikefield.training.optimiser import OptimiserConfig
from spikefield.windows.binned import BinningConfig, bin_session

RATE_HZ = 50.0
BIN_MS = 20.0


def latent(seed: int, n_samples: int) -> np.ndarray:
    """Return (samples, 2) of smooth noise, unit spread."""
    rng = np.random.default_rng(seed)
    kernel = np.hanning(32)[1:-1]
    noise = rng.normal(size=(2, n_samples + len(kernel) - 1))
    smooth = np.stack([np.convolve(row, kernel, "valid") for row in noise], axis=1)
    return smooth / smooth.std(0)


def arrays(seed: int = 0, *, seconds: float = 50.0, units: int = 10, channels: int = 6) -> dict:
    """Return the arguments of `from_arrays` for a session with all three streams at 50 Hz."""
    rng = np.random.default_rng([7, seed])
    n_samples = round(seconds * RATE_HZ)
    state = latent(seed, n_samples)
    rate = np.exp(-1.0 + state @ rng.normal(size=(2, units)) * 0.6)
    counts = rng.poisson(rate)
    bins, unit = np.nonzero(counts)
    repeated = np.repeat(np.arange(len(bins)), counts[bins, unit])
    times = (bins[repeated] + rng.uniform(0.01, 0.99, len(repeated))) / RATE_HZ
    return {
        "session": f"s{seed}",
        "subject": f"subject{seed % 2}",
        "spike_times": times,
        "spike_units": unit[repeated],
        "lfp": state @ rng.normal(size=(2, channels)) + 1.0 * rng.normal(size=(n_samples, channels)),
        "lfp_rate_hz": RATE_HZ,
        "behavior": state + 0.05 * rng.normal(size=state.shape),
        "behavior_rate_hz": RATE_HZ,
        "behavior_names": ["vx", "vy"],
    }


def session(seed: int = 0, *, without: tuple[str, ...] = (), **shape):
    """Return a prepared session, without the streams named ('spike', 'lfp', 'behavior')."""
    given = arrays(seed, **shape)
    return from_arrays(**{k: v for k, v in given.items() if not k.startswith(tuple(without))})


def binned(seed: int = 0, *, without: tuple[str, ...] = (), **shape):
    """Return a session on bins of 20 ms."""
    return bin_session(session(seed, without=without, **shape), config=BinningConfig(bin_width_ms=BIN_MS))


def write(folder, *sessions):
    """Write prepared sessions into a folder and return it."""
    for one in sessions:
        save(one, folder / f"{one.session.id}.h5")
    return folder


def config(**changes) -> ExperimentConfig:
    """Return the smallest experiment that trains everything."""
    fast = OptimiserConfig(epochs=2, batch_windows=8, warmup_epochs=0.5)
    size = TransformerConfig(dim=16, n_layers=1, n_heads=2)
    given = {
        "window_s": 1.0,
        "spike_patch": 8,
        "transformer": size,
        "autoencoding": AutoencodingConfig(predictor=TransformerConfig(dim=8, n_layers=1, n_heads=2)),
        "pretraining": fast,
        "distilling": fast,
    }
    return ExperimentConfig(**(given | changes))

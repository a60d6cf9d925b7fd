"""Binned sessions made in memory, for the tests of evaluation."""

import numpy as np

from spikefield.windows.binned import BinnedSession
from spikefield.windows.splits import SplitConfig, blocked_split


def session_of(behavior, *, counts=None, lfp=None, bin_width_ms=50.0, segment=None, has_trials=False, split=None):
    """Return a session with the given arrays on one grid, split as by default."""
    n_bins = len(behavior)
    segment = np.zeros(n_bins, int) if segment is None else segment
    if split is None:
        split = blocked_split(segment, config=SplitConfig(), bin_width_ms=bin_width_ms, reach_s=0.0, session_id="made")
    return BinnedSession(
        session_id="made",
        subject_id="maker",
        bin_width_ms=bin_width_ms,
        start_s=0.0,
        segment=segment,
        split=split,
        counts=counts,
        lfp=lfp,
        behavior=behavior,
        unit_ids=tuple(f"u{i}" for i in range(0 if counts is None else counts.shape[1])),
        channel_ids=tuple(f"c{i}" for i in range(0 if lfp is None else lfp.shape[1])),
        behavior_names=tuple(f"b{i}" for i in range(behavior.shape[1])),
        chain=None,
        has_trials=has_trials,
    )


def smooth(rng, n_bins, n_columns, width=20):
    """Return smoothed noise of unit spread."""
    noise = rng.normal(size=(n_bins + width - 1, n_columns))
    kernel = np.hanning(width + 2)[1:-1]
    series = np.stack([np.convolve(column, kernel, "valid") for column in noise.T], axis=1)
    return series / series.std(0)


def linear_session(seed=0, n_bins=3000, n_channels=12, noise=1.0, **more):
    """Return a session whose field and counts both carry two smooth behaviours."""
    rng = np.random.default_rng(seed)
    behavior = smooth(rng, n_bins, 2)
    lfp = (behavior @ rng.normal(size=(2, n_channels)) + noise * rng.normal(size=(n_bins, n_channels))).astype("f4")
    rate = np.exp(0.5 + 0.4 * behavior @ rng.normal(size=(2, n_channels)))
    return session_of(behavior, counts=rng.poisson(rate).astype(np.int32), lfp=lfp, **more)

"""From a trained encoder and a binned session to one vector for each bin: what readouts and alignment measures read.

Windows overlap by half inside each stretch, and each bin is taken from the window in which it lies most centrally, so
that it sees about as much past as future. No window crosses the border of a stretch. A causal encoder is run with all
the past that it reaches, so that each bin is exactly what a live stream gives.
"""

from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import nn
from torch_brain.datasets import DatasetIndex

from spikefield.errors import InputError
from spikefield.models.encoder import Reach
from spikefield.windows.batches import WindowDataset, collate
from spikefield.windows.binned import BinnedSession


class _Window(NamedTuple):
    """A window [first, last) of which the bins [keep_first, keep_last) are used."""

    first: int
    last: int
    keep_first: int
    keep_last: int


def embed(
    encoder: nn.Module,
    session: BinnedSession,
    *,
    window_bins: int,
    kinds: tuple[str, ...] = ("train", "valid", "test"),
    batch_windows: int = 32,
    device: torch.device | str = "cpu",
) -> Float[np.ndarray, "bin dim"]:
    """Return the representation (bin, dim) of every bin of the session's stretches, float32, NaN elsewhere.

    Args:
        encoder: windows -> (batch, time, dim), as `spikefield.models.encoder.Encoder`; it is moved to `device`, run
            without dropout and left in the mode it came in.
        session: gives spikes, field and stretches; a stretch shorter than a window is one window.
        window_bins: length of a window, that of the training.
        kinds: the kinds of time to represent.
        batch_windows: windows a batch.
        device: where the encoder runs.

    Raises:
        InputError: no stretch of these kinds, or the session lacks what the encoder reads.
    """
    stretches = [stretch for kind in kinds for stretch in session.stretches(kind)]
    reach = getattr(encoder, "reach", None)
    cut = _windows if reach is None else partial(_causal_windows, reach=reach)
    windows = sorted((w for s in stretches for w in cut(*s, window_bins)), key=lambda w: w.first - w.last)
    if not windows:
        raise InputError(
            f"session {session.session_id!r} has no stretch of {', '.join(kinds)} time to represent. "
            "Bring a longer recording, or other blocks."
        )
    batch_windows = max(1, batch_windows * window_bins // max(windows[0].last - windows[0].first, window_bins))
    modalities = {"spikes": session.counts, "lfp": session.lfp}
    dataset = WindowDataset([session], modalities=tuple(m for m, held in modalities.items() if held is not None))
    was_training = encoder.training
    encoder.to(device).eval()
    try:
        pieces = [
            _run(encoder, session.session_id, dataset, windows[i : i + batch_windows], device)
            for i in range(0, len(windows), batch_windows)
        ]
    finally:
        encoder.train(was_training)
    return _place(windows, [row for piece in pieces for row in piece], session.n_bins)


def _windows(start: int, end: int, window_bins: int) -> list[_Window]:
    """Cover a stretch with windows that overlap by half; the last one ends at its end."""
    if end - start <= window_bins:
        return [_Window(start, end, start, end)]
    firsts = [*range(start, end - window_bins, max(1, window_bins // 2)), end - window_bins]
    middles = [(left + right + window_bins - 1) // 2 + 1 for left, right in pairwise(firsts)]
    return [
        _Window(first, first + window_bins, keep_first, keep_last)
        for first, keep_first, keep_last in zip(firsts, [start, *middles], [*middles, end], strict=True)
    ]


def _causal_windows(start: int, end: int, window_bins: int, *, reach: Reach) -> list[_Window]:
    """Cut a stretch into pieces, each run together with the bins before and after that it depends on."""
    keep_bins = max(4 * window_bins, reach.past_bins)
    return [
        _Window(
            max(first - reach.past_bins, start),
            min(first + keep_bins + reach.ahead_bins, end),
            first,
            min(first + keep_bins, end),
        )
        for first in range(start, end, keep_bins)
    ]


@torch.inference_mode()
def _run(
    encoder: nn.Module,
    session_id: str,
    dataset: WindowDataset,
    windows: list[_Window],
    device: torch.device | str,
) -> Float[np.ndarray, "window time dim"]:
    batch = collate([dataset[DatasetIndex(session_id, w.first, w.last)] for w in windows])
    return encoder(batch.to(device)).float().cpu().numpy()


def _place(windows: list[_Window], rows: list[np.ndarray], n_bins: int) -> Float[np.ndarray, "bin dim"]:
    represented = np.full((n_bins, rows[0].shape[1]), np.nan, np.float32)
    for window, row in zip(windows, rows, strict=True):
        kept = slice(window.keep_first - window.first, window.keep_last - window.first)
        represented[window.keep_first : window.keep_last] = row[kept]
    return represented

"""What a student is aligned to in every bin: the teacher's representation, or what is tried in its place.

representation   z_t of the teacher                            (the paper)
rates            log rates that the teacher's decoder puts out (alignment at its output)
spikes           the smoothed counts that go into it           (alignment at its input)
factors          factor analysis of the smoothed counts        (a classical teacher, no transformer)

All but the first are centred on training time, and their columns differ from session to session, so that a student of
several sessions can only be given the first.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter1d
from sklearn.decomposition import FactorAnalysis
from torch import Tensor, nn

from spikefield.errors import InputError
from spikefield.evaluation.embedding import embed
from spikefield.models.encoder import Encoder, Windows
from spikefield.objectives.autoencoding import MaskedAutoencoder
from spikefield.training.teacher_cache import teacher_representations
from spikefield.windows.binned import BinnedSession

KINDS = ("train", "valid")
_SMOOTHING_MS = 60.0
_N_FACTORS = 16


def alignment_targets(
    align_to: str,
    teacher: Encoder | MaskedAutoencoder,
    sessions: Sequence[BinnedSession],
    window_bins: int,
    cache: Path | None = None,
) -> dict[str, Float[np.ndarray, "bin dim"]]:
    """Return vectors (bin, dim) for the training and validation bins of every session; 0 in other bins.

    Raises:
        InputError: several sessions, or a teacher without its decoder, for what needs one session or the decoder.
    """
    if align_to == "representation":
        encoder = teacher if isinstance(teacher, Encoder) else teacher.encoder
        return teacher_representations(encoder, sessions, window_bins=window_bins, cache=cache)
    if len(sessions) > 1:
        raise InputError(f"`align_to` {align_to} differs by session, so a student of several cannot have it. Give one.")
    session = sessions[0]
    if align_to == "rates":
        if isinstance(teacher, Encoder):
            raise InputError("`align_to` rates needs the teacher with its decoder. Give the masked autoencoder.")
        found = embed(_Rates(teacher).train(teacher.training), session, window_bins=window_bins, kinds=KINDS)
        found = found[:, : session.require("spikes").shape[1]]
    else:
        found = smoothed_counts(session)
        if align_to == "factors":
            found = _factors(found, session)
    return {session.session_id: np.nan_to_num(found - found[session.split.train].mean(0)).astype(np.float32)}


class _Rates(nn.Module):
    """The log rates that a masked autoencoder gives every unit when nothing is hidden."""

    def __init__(self, network: MaskedAutoencoder) -> None:
        super().__init__()
        self.network = network

    def forward(self, windows: Windows) -> Float[Tensor, "batch time unit"]:
        return self.network.rebuilt(windows)


def smoothed_counts(session: BinnedSession) -> Float[np.ndarray, "bin unit"]:
    """Return roots of counts (bin, unit) under a Gaussian of 60 ms, inside each training or validation stretch."""
    roots = np.sqrt(np.asarray(session.require("spikes"), np.float64))
    smoothed = np.full(roots.shape, np.nan)
    for start, end in (stretch for kind in KINDS for stretch in session.stretches(kind)):
        width_bins = _SMOOTHING_MS / session.bin_width_ms
        smoothed[start:end] = gaussian_filter1d(roots[start:end], width_bins, axis=0, mode="nearest")
    return smoothed


def _factors(smoothed: Float[np.ndarray, "bin unit"], session: BinnedSession) -> Float[np.ndarray, "bin factor"]:
    """Return what factor analysis, fitted on training time, finds in every bin."""
    n_factors = min(_N_FACTORS, smoothed.shape[1])
    known = np.isfinite(smoothed).all(1)
    analysis = FactorAnalysis(n_components=n_factors, random_state=0).fit(smoothed[known & session.split.train])
    factors = np.full((len(smoothed), n_factors), np.nan)
    factors[known] = analysis.transform(smoothed[known])
    return factors

"""From what the configuration asks to the vectors a student follows: teachers, layers, minutes, lag, whitening.

teachers' words in each bin (`targets`) -> joined, shifted and whitened as asked -> one vector a bin for the loss
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from spikefield.errors import InputError
from spikefield.evaluation.embedding import embed
from spikefield.models.encoder import Encoder, Windows, bin_positions, pool_patches
from spikefield.objectives.autoencoding import MaskedAutoencoder
from spikefield.objectives.distillation import DistillationConfig
from spikefield.training.targets import KINDS, alignment_targets
from spikefield.windows.binned import BinnedSession

_LEAST_SHARE = 1e-3  # of the mean variance, added to every variance before whitening
_TINY = 1e-12
Vectors = dict[str, Float[np.ndarray, "_ _"]]  # by session, (bin, dim)


def guidance(
    config: DistillationConfig,
    teachers: Sequence[Encoder | MaskedAutoencoder],
    sessions: Sequence[BinnedSession],
    window_bins: int,
    cache: Path | None = None,
) -> Vectors:
    """Return what the student of these sessions is aligned to in every training and validation bin.

    Raises:
        InputError: what is asked for needs a single session, a teacher with its decoder, or more teachers.
    """
    if len(teachers) != config.n_teachers:
        raise InputError(
            f"`n_teachers` must be the {len(teachers)} teacher(s) given, got {config.n_teachers}. "
            "Give as many as the config says."
        )
    each = [_words(config, teacher, sessions, window_bins, cache) for teacher in teachers]
    found = each[0] if len(each) == 1 else _side_by_side(each)
    if config.lag_ms:
        found = {s.session_id: shifted(found[s.session_id], s, lag_ms=config.lag_ms) for s in sessions}
    return whitened(found, sessions, config.paired_minutes) if "whitened-mse" in config.alignments else found


def first_minutes(session: BinnedSession, minutes: float | None) -> BinnedSession:
    """Return the session with no training time but its first minutes; validation and test time stay."""
    if minutes is None:
        return session
    train = session.split.train
    early = np.cumsum(train) <= round(minutes * 60_000 / session.bin_width_ms)
    return replace(session, split=replace(session.split, train=train & early))


def shifted(
    vectors: Float[np.ndarray, "bin dim"], session: BinnedSession, *, lag_ms: float
) -> Float[np.ndarray, "bin dim"]:
    """Return (bin, dim): the vector of `lag_ms` before, in whole bins, at a stretch's edge the nearest in it."""
    lag_bins = round(lag_ms / session.bin_width_ms)
    moved = np.zeros_like(vectors)
    for start, end in (stretch for kind in KINDS for stretch in session.stretches(kind)):
        moved[start:end] = vectors[np.clip(np.arange(start, end) - lag_bins, start, end - 1)]
    return moved


def whitened(
    vectors: Mapping[str, Float[np.ndarray, "_ _"]], sessions: Sequence[BinnedSession], minutes: float | None = None
) -> Vectors:
    """Return the vectors (bin, dim) at zero mean and unit covariance over the paired training time of all sessions."""
    known = [vectors[s.session_id][first_minutes(s, minutes).split.train] for s in sessions]
    pooled = np.concatenate(known).astype(np.float64)
    mean = pooled.mean(0)
    variances, axes = np.linalg.eigh((pooled - mean).T @ (pooled - mean) / len(pooled))
    variances = np.maximum(variances, 0) + _LEAST_SHARE * variances.mean()
    turn = axes / np.sqrt(variances) @ axes.T
    found = {}
    for session in sessions:
        used = (session.split.train | session.split.valid)[:, None]
        values = (vectors[session.session_id].astype(np.float64) - mean) @ turn
        found[session.session_id] = np.where(used, values, 0.0).astype(np.float32)
    return found


def _words(
    config: DistillationConfig,
    teacher: Encoder | MaskedAutoencoder,
    sessions: Sequence[BinnedSession],
    window_bins: int,
    cache: Path | None,
) -> Vectors:
    """Return what one teacher says."""
    if not config.teacher_depths:
        return alignment_targets(config.align_to, teacher, sessions, window_bins, cache)
    encoder = teacher if isinstance(teacher, Encoder) else teacher.encoder
    inside = AtDepths(encoder, config.teacher_depths).train(encoder.training)
    return {s.session_id: np.nan_to_num(embed(inside, s, window_bins=window_bins, kinds=KINDS)) for s in sessions}


def _side_by_side(each: Sequence[Vectors]) -> Vectors:
    """Return the teachers' vectors, each at unit length in every bin, as one longer vector."""

    def unit(z: np.ndarray) -> np.ndarray:
        z = z.astype(np.float32)
        return z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), _TINY)

    return {session_id: np.concatenate([unit(one[session_id]) for one in each], axis=1) for session_id in each[0]}


class AtDepths(nn.Module):
    """The representation at some shares of an encoder's depth, normalised at each, their mean where there are several.

    0 is what goes into the first layer, 1 the encoder's output.
    """

    def __init__(self, encoder: Encoder, depths: Sequence[float]) -> None:
        super().__init__()
        self.encoder = encoder
        n_layers = encoder.config.transformer.n_layers
        self.layers = [round(depth * n_layers) for depth in depths]

    def forward(self, windows: Windows) -> Float[Tensor, "batch time dim"]:
        """Return the mean of the representations of each time step, (batch, time, dim)."""
        tokens, transformer = self.encoder.tokenize(windows), self.encoder.transformer
        n_batch, n_time, n_patches, dim = tokens.values.shape
        positions = bin_positions(n_time, n_patches, tokens.values.device)
        valid = None if bool(tokens.valid.all()) else tokens.valid.flatten(1)
        streams = list(transformer.streams(tokens.values.flatten(1, 2), positions, valid))
        normal = [functional.rms_norm(stream, (dim,)) for stream in streams[:-1]] + [transformer.norm(streams[-1])]
        mixed = sum(normal[layer] for layer in self.layers) / len(self.layers)
        assert isinstance(mixed, Tensor)
        return pool_patches(mixed.view(n_batch, n_time, n_patches, dim), tokens.valid)

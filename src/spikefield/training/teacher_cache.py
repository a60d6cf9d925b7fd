"""What a frozen teacher says of every bin, computed once and read from disk ever after.

A file's name is the hash of all that determines it: the teacher's weights and configuration, the session's counts and
split, and the window. Files are plain arrays in half precision, mapped into memory and never unpickled, so that
students of any seed, run or machine that share a folder never run the teacher again.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

import spikefield.files as files
from spikefield.errors import InputError
from spikefield.evaluation.embedding import embed
from spikefield.models.encoder import Encoder
from spikefield.windows.binned import BinnedSession

_KINDS = ("train", "valid")
_LARGEST_HALF = 6.0e4


def teacher_representations(
    teacher: Encoder, sessions: Sequence[BinnedSession], *, window_bins: int, cache: Path | None = None
) -> dict[str, Float[np.ndarray, "bin dim"]]:
    """Return the frozen teacher's z (bin, dim) of every training and validation bin, by session; 0 in other bins.

    Where `cache` names a folder, what lies there is read, and what does not is put there.
    """
    weights = _weights_hash(teacher)
    found = {}
    for session in sessions:
        path = None if cache is None else cache / f"{_key(weights, teacher, session, window_bins)}.npy"
        known = None if path is None else _read(path, session.n_bins, teacher.config.transformer.dim)
        if known is None:
            known = _compute(teacher, session, window_bins)
            if path is not None:
                _write(path, known)
        found[session.session_id] = known
    return found


def _compute(teacher: Encoder, session: BinnedSession, window_bins: int) -> Float[np.ndarray, "bin dim"]:
    """Run the teacher; half precision turns a direction by less than a thousandth, far less than dropout does."""
    z = np.nan_to_num(embed(teacher, session, window_bins=window_bins, kinds=_KINDS))
    return z.astype(np.float16) if np.abs(z).max(initial=0) < _LARGEST_HALF else z


def _read(path: Path, n_bins: int, dim: int) -> np.ndarray | None:
    """Return the array of a file, mapped; None where there is none or it is not what it should be."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    fits = isinstance(array, np.ndarray) and array.shape == (n_bins, dim) and array.dtype in (np.float16, np.float32)
    return array if fits else None


def _write(path: Path, array: np.ndarray) -> None:
    """Keep an array; a cache that cannot be written costs time only."""
    try:
        with files.whole(path) as temporary, temporary.open("wb") as file:
            np.save(file, array, allow_pickle=False)
    except InputError:
        return


def _weights_hash(teacher: Encoder) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(teacher.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _key(weights: str, teacher: Encoder, session: BinnedSession, window_bins: int) -> str:
    stretches = [session.stretches(kind) for kind in _KINDS]
    rows = teacher.space.rows_of(session.session_id)
    digest = hashlib.sha256(json.dumps([weights, asdict(teacher.config), rows, window_bins, stretches]).encode())
    digest.update(np.ascontiguousarray(session.require(teacher.config.modality)).data)
    return digest.hexdigest()[:32]

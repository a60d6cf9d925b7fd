"""Binned sessions that together outgrow memory lie in temporary files, mapped; windows are read from them as needed.

The files have no name once they are open, so nothing is left behind however the process ends. They lie where Python
puts temporary files (`TMPDIR`).
"""

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import psutil

from spikefield.windows.binned import BinnedSession

_SHARE_OF_MEMORY = 0.25
_STREAMS = ("counts", "lfp", "behavior")


def kept(sessions: Iterable[BinnedSession], *, in_memory_bytes: float | None = None) -> Iterator[BinnedSession]:
    """Yield sessions as they come; those past `in_memory_bytes` (None = a quarter of what is free) lie on disk."""
    left = _SHARE_OF_MEMORY * psutil.virtual_memory().available if in_memory_bytes is None else in_memory_bytes
    for session in sessions:
        left -= sum(array.nbytes for name in _STREAMS if (array := getattr(session, name)) is not None)
        yield session if left >= 0 else on_disk(session)


def on_disk(session: BinnedSession) -> BinnedSession:
    """Return the same session with its streams in temporary files."""
    streams = {name: array for name in _STREAMS if (array := getattr(session, name)) is not None}
    return replace(session, **{name: _mapped(array) for name, array in streams.items()})


def _mapped(array: np.ndarray) -> np.ndarray:
    with tempfile.TemporaryFile(prefix="spikefield-") as file:
        mapped = np.memmap(file, dtype=array.dtype, mode="w+", shape=array.shape)
    mapped[:] = array
    mapped.flush()
    return mapped

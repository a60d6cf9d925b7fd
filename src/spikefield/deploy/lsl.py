"""Lab Streaming Layer at both ends of the rig: samples in from an outlet, decoded behaviour out through another.

mne-lsl brings the library along; it is an extra and is imported when it is first needed.
"""

import math
import time
from typing import Any

import numpy as np

from spikefield.deploy.sinks import Row, Sink
from spikefield.deploy.sources import BACKLOG_S, Block, Source, newest
from spikefield.errors import InputError

_FIND_S = 5.0
_MOST_SAMPLES = 1 << 16


def library() -> Any:
    """Return mne_lsl.lsl.

    Raises:
        InputError: the package or the library inside it cannot be loaded.
    """
    try:
        import mne_lsl.lsl
    except (ImportError, OSError, RuntimeError) as error:
        why = " ".join(str(error).split())[:120]
        raise InputError(
            f"Lab Streaming Layer needs mne-lsl ({why}). Install it with: pip install 'spikefield[stream]'"
        ) from error
    return mne_lsl.lsl


class LslSource(Source):
    """The stream of that name on this network, its times brought to this machine's clock."""

    def __init__(self, name: str, *, find_s: float = _FIND_S) -> None:
        lsl = library()
        info = _find(lsl, name, find_s)
        self.name = name
        self._inlet = lsl.StreamInlet(info, max_buffered=4 * math.ceil(BACKLOG_S), processing_flags=["clocksync"])
        try:
            self._inlet.open_stream(timeout=find_s)
            described = self._inlet.get_sinfo(timeout=find_s)
        except (TimeoutError, RuntimeError) as error:
            raise InputError(f"LSL stream {name!r} was found but does not open ({error}). Start it again.") from error
        self.rate_hz = float(described.sfreq)
        self.n_channels = int(described.n_channels)
        names = described.get_channel_names()
        self.channel_ids = tuple(map(str, names)) if names and all(names) else None

    def read(self, *, timeout_s: float) -> Block | None:
        """Return all that the inlet holds; an outlet that went away is waited for.

        Raises:
            InputError: the stream was lost.
        """
        try:
            first, first_s = self._inlet.pull_sample(timeout=timeout_s)
            if first_s is None or not len(first):
                return None
            rest, rest_s = self._inlet.pull_chunk(timeout=0.0, max_samples=_MOST_SAMPLES)
        except RuntimeError as error:
            raise InputError(f"LSL stream {self.name!r} was lost ({error}). Start it again.") from error
        samples, times_s = np.asarray(first)[None], np.array([first_s])
        if len(rest_s):
            samples, times_s = np.concatenate([samples, np.asarray(rest)]), np.concatenate([times_s, rest_s])
        return newest(Block(samples, times_s, time.perf_counter()), rate_hz=self.rate_hz)

    def close(self) -> None:
        """Close the inlet."""
        self._inlet.close_stream()


def _find(lsl: Any, name: str, find_s: float) -> Any:
    """Return the one stream of that name; what cannot be decoded is refused."""
    found = lsl.resolve_streams(timeout=find_s, name=name, minimum=1)
    if not found:
        others = sorted({stream.name for stream in lsl.resolve_streams(timeout=1.0)})
        there = f"on the network: {', '.join(map(repr, others))}" if others else "there is none on the network"
        raise InputError(f"no LSL stream named {name!r} within {find_s:g} s; {there}. Start it, or check the name.")
    if len(found) > 1:
        raise InputError(f"{len(found)} LSL streams are named {name!r}. Give each a name of its own.")
    if found[0].dtype == "string" or not found[0].sfreq > 0:
        raise InputError(f"LSL stream {name!r} holds text or has no regular rate. Give a stream of samples.")
    return found[0]


class LslSink(Sink):
    """An outlet with one channel a behaviour dim, then the bin's flags; its time stamps are those of the bins.

    The time is that of this machine's LSL clock when the bin leaves, so that other streams can be aligned to it.
    """

    def __init__(self, name: str, *, behavior_names: tuple[str, ...], bin_width_ms: float) -> None:
        lsl = library()
        info = lsl.StreamInfo(
            name, "Decoded", len(behavior_names) + 2, 1000 / bin_width_ms, "float64", f"spikefield-{name}"
        )
        info.set_channel_names([*behavior_names, "quality", "bin_time_s"])
        self._outlet = lsl.StreamOutlet(info)

    def write(self, row: Row) -> None:
        """Push one bin."""
        self._outlet.push_sample(np.array([*row.values, row.quality, row.bin_time_s], np.float64))

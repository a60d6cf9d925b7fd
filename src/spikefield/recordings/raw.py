"""What a reader hands over: one recording as arguments of `from_arrays`, its broadband as a source read in chunks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch_brain.data import Data

from spikefield.errors import InputError
from spikefield.recordings.arrays import from_arrays


@dataclass(frozen=True, kw_only=True)
class SeriesChoice:
    """Which series to take, by the names that `inspect` prints: None lets the reader propose, () takes none."""

    lfp: tuple[str, ...] | None = None
    units: tuple[str, ...] | None = None
    behavior: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("lfp", "units", "behavior"):
            wanted = getattr(self, name)
            if wanted is not None and not (isinstance(wanted, tuple) and all(isinstance(w, str) for w in wanted)):
                raise InputError(
                    f"`{name}` must be a tuple of series names or None, got {wanted!r}. "
                    "Give a tuple of names, even for one series."
                )


def chosen(
    path: str | Path, kind: str, wanted: tuple[str, ...] | None, available: Sequence[str], proposed: Sequence[str]
) -> tuple[str, ...]:
    """Return the wanted series, or the proposed ones where none are named.

    Raises:
        InputError: a wanted name is not in the file; the message lists what is.
    """
    if wanted is None:
        return tuple(proposed)
    for name in wanted:
        if name not in available:
            there = ", ".join(available) if available else "none"
            raise InputError(f"{path}: no {kind} series named {name!r}. Choose from {there}.")
    return wanted


@dataclass(frozen=True, kw_only=True)
class Broadband:
    """Field potential as sampled, one stretch without a gap; it stays on disk and is read in chunks.

    Args:
        name: file and field it comes from, for messages.
        rate_hz: measured over all time stamps where the file has them.
        start_s: time of the first sample, on the clock of the session.
        n_samples: samples of the stretch.
        channel_ids: one name a channel.
        positions_um: (channels, 2) place of each channel, where known.
        conversion_v: (channels,) volts of one count.
        stream: called with a number of samples, yields blocks of at most that many.
    """

    name: str
    rate_hz: float
    start_s: float
    n_samples: int
    channel_ids: tuple[str, ...]
    positions_um: np.ndarray | None = None
    conversion_v: np.ndarray
    stream: Callable[[int], Iterator[np.ndarray]] = field(repr=False)

    def __post_init__(self) -> None:
        if not (np.isfinite(self.rate_hz) and self.rate_hz > 0 and self.n_samples > 0):
            raise InputError(
                f"{self.name}: needs a positive rate and at least one sample, got {self.rate_hz} Hz and "
                f"{self.n_samples} samples. Check the file's clock."
            )
        if self.conversion_v.shape != (len(self.channel_ids),) or not (np.abs(self.conversion_v) > 0).all():
            raise InputError(
                f"{self.name}: the conversion to volts must be {len(self.channel_ids)} numbers other than 0, "
                f"got {self.conversion_v.tolist()[:4]}. Check the file's gain."
            )

    @property
    def end_s(self) -> float:
        """Time just after the last sample."""
        return self.start_s + self.n_samples / self.rate_hz

    def chunks(self, samples: int) -> Iterator[np.ndarray]:
        """Yield the stretch in order, (n, channels) of int16 counts, or float32 where the file holds floats.

        Raises:
            InputError: the file is damaged or shorter than it declared, or holds NaN.
        """
        if samples < 1:
            raise InputError(f"`samples` must be at least 1, got {samples}. Take about a second of data.")
        seen = 0
        for block in self.stream(samples):
            if block.dtype.kind == "f" and not np.isfinite(block).all():
                row, column = np.argwhere(~np.isfinite(block))[0]
                raise InputError(
                    f"{self.name}: must be finite, got {block[row, column]} in channel {self.channel_ids[column]} at "
                    f"{self.start_s + (seen + row) / self.rate_hz:.3f} s. Leave the channel or the stretch out."
                )
            seen += len(block)
            yield block
        if seen != self.n_samples:
            raise InputError(f"{self.name}: {self.n_samples} samples expected, got {seen}. Fetch the file again.")


@dataclass(frozen=True, kw_only=True)
class RawSession:
    """One recording: arguments for `from_arrays`, and its broadband stretches in order of time (empty: none).

    Where `broadband` is not empty, `arrays` holds no `lfp`: the signal chain makes it from the stretches.
    """

    path: Path
    arrays: Mapping[str, Any]
    broadband: tuple[Broadband, ...] = ()

    def __post_init__(self) -> None:
        if not self.broadband and not {"lfp", "spike_times", "spike_counts", "behavior"} & set(self.arrays):
            raise InputError(
                f"{self.path}: holds neither spikes nor field potential nor behaviour that was asked for. Choose other "
                "series; `spikefield inspect` lists what is there."
            )

    @property
    def id(self) -> str:
        """Name of the session."""
        return self.arrays["session"]

    def build(self, lfp: Mapping[str, Any] | None = None) -> Data:
        """Make the prepared session; `lfp` adds arguments of `from_arrays`, such as what was made from `broadband`.

        Raises:
            InputError: as `from_arrays`, with the file's name in front.
        """
        try:
            return from_arrays(**{**self.arrays, **(lfp or {})})
        except InputError as error:
            raise InputError(f"{self.path}: {error}") from error


def intervals(broadband: tuple[Broadband, ...]) -> Float[np.ndarray, "stretches 2"]:
    """Return start and end of every stretch in seconds, (stretches, 2)."""
    return np.array([(stretch.start_s, stretch.end_s) for stretch in broadband], np.float64).reshape(-1, 2)

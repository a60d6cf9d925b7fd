"""Broadband to field potential, streamed: raw samples come in pieces, about 1 kHz goes out, memory stays small.

The low-pass is symmetric (no phase) and decimates as a product of a banded matrix with blocks of samples, in two
stages: a gentle one at the full rate that keeps the final band clear, then a sharp one. Whatever would fold back into
the field potential is held under 0.5 %. Notch, reference and band are the chain's, not chosen here.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32
from numpy.lib.stride_tricks import as_strided
from scipy.signal import kaiserord, windows

from spikefield.errors import InputError
from spikefield.signals.filters import Form, check_form
from spikefield.signals.sample_clock import Run, SampleClock

_PASS_SHARE, _STOP_SHARE = 0.38, 0.5
_STOP_DB = 50.0
_BLOCK_OUTPUTS = 8
_WORK_SAMPLES = 4096


def sample_chunks(data: np.ndarray, *, time_axis: int = 0, chunk_samples: int = 1 << 15) -> Iterator[np.ndarray]:
    """Yield (samples, channels) pieces of a stored array of either orientation, read a piece at a time."""
    for first in range(0, data.shape[time_axis], chunk_samples):
        piece = slice(first, first + chunk_samples)
        yield data[piece] if time_axis == 0 else data[:, piece].T


class LfpExtractor:
    """Takes the samples of a file in order and gives the field potential at a whole fraction of the rate.

    Attributes:
        rate_hz: measured rate of the field potential.
        start_s: time of its first sample. In causal form a sample is stamped with the last raw sample that it uses.
        n_samples: how many samples will have come out after `flush`.
        reach_s: how far the low-pass looks to both sides.
    """

    def __init__(
        self, clock: SampleClock, *, to_hz: float = 1000.0, scale: float = 1.0, form: Form = "zero_phase"
    ) -> None:
        check_form(form)
        factor = round(clock.rate_hz / to_hz)
        if factor < 1:
            raise InputError(
                f"`to_hz` must be at most the recording's rate {clock.rate_hz:g} Hz, got {to_hz:g}. Lower it."
            )
        designs = _designs(factor)
        reach_samples = sum(design.reach * design.samples_apart for design in designs)
        self.rate_hz = clock.rate_hz / factor
        self.reach_s = reach_samples / clock.rate_hz
        self.start_s = clock.start_s + (self.reach_s if form == "causal" else 0.0)
        self.n_samples = -(-clock.n_indices // factor)
        self._factor, self._scale = factor, np.float32(scale)
        self._stages = [_BlockDecimator(design) for design in designs]
        self._runs: list[Run] = list(clock.runs)
        self._n_channels = 0
        self._taken = 0
        self._given = 0

    def push(self, samples: np.ndarray) -> Float32[np.ndarray, "out channels"]:
        """Take the next (samples, channels) of the file and return the field (out, channels) that they complete.

        Raises:
            InputError: more samples than the clock says.
        """
        ready = []
        while len(samples):
            if not self._runs:
                raise InputError(f"`samples`: more samples came than the clock's {self._taken}. Do the files match?")
            run = self._runs[0]
            if self._taken == run.first_sample:
                ready.append(self._begin(run, samples.shape[1]))
            room = run.first_sample + run.n_samples - self._taken
            ready.append(self._through(samples[:room]))
            self._taken += min(room, len(samples))
            samples = samples[room:]
            if self._taken == run.first_sample + run.n_samples:
                ready.append(self._end())
                self._runs.pop(0)
        return np.concatenate(ready) if ready else np.empty((0, samples.shape[1]), np.float32)

    def flush(self) -> None:
        """Check that all samples of the clock have come; the last ones left with their run.

        Raises:
            InputError: fewer samples than the clock says.
        """
        if self._runs:
            expected = self._runs[-1].first_sample + self._runs[-1].n_samples
            raise InputError(f"`samples`: {self._taken} came, the clock has {expected}. Is the file cut short?")

    def _begin(self, run: Run, n_channels: int) -> np.ndarray:
        """Start a run at its regular index and return the NaN rows of the gap before it."""
        index, self._n_channels = run.first_index, n_channels
        for stage in self._stages:
            index = stage.begin(index, n_channels)
        missing, self._given = index - self._given, index
        return np.full((missing, n_channels), np.nan, np.float32)

    def _through(self, rows: np.ndarray) -> np.ndarray:
        parts = []
        for first in range(0, len(rows), _WORK_SAMPLES):
            part = rows[first : first + _WORK_SAMPLES]
            for stage in self._stages:
                part = stage.push(part)
            parts.append(part)
        return self._out(parts)

    def _end(self) -> np.ndarray:
        parts: list[np.ndarray] = []
        for stage in self._stages:
            parts = [*(stage.push(rows) for rows in parts), stage.end()]
        return self._out(parts)

    def _out(self, parts: list[np.ndarray]) -> np.ndarray:
        rows = np.concatenate([np.empty((0, self._n_channels), np.float32), *parts]) * self._scale
        self._given += len(rows)
        return rows


def extract_lfp(
    chunks: Iterable[np.ndarray], clock: SampleClock, *, to_hz: float = 1000.0, scale: float = 1.0
) -> Float32[np.ndarray, "out channels"]:
    """Return the whole field potential (out, channels) of a recording that is read in (samples, channels) pieces.

    Raises:
        InputError: no samples, or more or fewer than the clock says.
    """
    extractor, lfp, given = LfpExtractor(clock, to_hz=to_hz, scale=scale), None, 0
    for chunk in chunks:
        rows = extractor.push(chunk)
        if lfp is None:
            lfp = np.empty((extractor.n_samples, rows.shape[1]), np.float32)
        lfp[given : given + len(rows)] = rows
        given += len(rows)
    extractor.flush()
    if lfp is None:
        raise InputError("`chunks` held no samples. Check the recording.")
    return lfp


@dataclass(frozen=True, eq=False)
class _Design:
    """A symmetric low-pass and the whole number it divides the rate by; `samples_apart` is its step in raw samples."""

    taps: Float[np.ndarray, " taps"]
    factor: int
    samples_apart: int

    @property
    def reach(self) -> int:
        return len(self.taps) // 2


def _designs(factor: int) -> list[_Design]:
    """Split the factor in two where that is cheaper than one sharp filter at the full rate."""
    if factor == 1:
        return []
    splits = [[factor], *([a, factor // a] for a in range(2, factor) if factor % a == 0)]
    return min((_designed(split) for split in splits), key=_cost)


def _designed(split: list[int]) -> list[_Design]:
    """Design each stage in units of the final rate: it must keep clear what the last stage will pass."""
    designs, apart, rate = [], 1, float(np.prod(split))
    for factor in split:
        last = rate / factor == 1
        stop = _STOP_SHARE if last else rate / factor - _STOP_SHARE
        designs.append(_Design(_low_pass(_PASS_SHARE, stop, rate), factor, apart))
        rate, apart = rate / factor, apart * factor
    return designs


def _low_pass(pass_edge: float, stop_edge: float, rate: float) -> np.ndarray:
    n_taps, beta = kaiserord(_STOP_DB, (stop_edge - pass_edge) / (rate / 2))
    window = windows.kaiser(n_taps | 1, beta)
    middle = np.arange(n_taps | 1) - n_taps // 2
    taps = window * np.sinc((pass_edge + stop_edge) / rate * middle)
    return taps / taps.sum()


def _cost(designs: list[_Design]) -> float:
    """Products per raw sample."""
    return sum((_BLOCK_OUTPUTS + len(d.taps) / d.factor) / d.samples_apart for d in designs)


class _BlockDecimator:
    """One stage: y[j] = sum_k taps[k] x[j * factor + k - reach], in blocks of outputs; ends are held constant."""

    def __init__(self, design: _Design) -> None:
        self._design = design
        width = (_BLOCK_OUTPUTS - 1) * design.factor + len(design.taps)
        self._band = np.zeros((_BLOCK_OUTPUTS, width), np.float32)
        for row in range(_BLOCK_OUTPUTS):
            self._band[row, row * design.factor : row * design.factor + len(design.taps)] = design.taps
        self._waiting = np.empty((0, 0), np.float32)
        self._before_first = 0
        self._started = False

    def begin(self, first_index: int, n_channels: int) -> int:
        """Start a run at a regular index and return the index of its first output."""
        self._waiting = np.empty((0, n_channels), np.float32)
        first_output = -(-first_index // self._design.factor)
        self._before_first = first_output * self._design.factor - first_index - self._design.reach
        self._started = False
        return first_output

    def push(self, rows: np.ndarray) -> np.ndarray:
        if not len(rows):
            return np.empty((0, rows.shape[1]), np.float32)
        if not self._started:
            self._started = True
            hold = max(-self._before_first, 0)
            rows = np.concatenate([np.repeat(rows[:1], hold, axis=0), rows])
            self._before_first = max(self._before_first, 0)
        skip = min(self._before_first, len(rows))
        self._before_first -= skip
        joined = np.empty((len(self._waiting) + len(rows) - skip, rows.shape[1]), np.float32)
        joined[: len(self._waiting)] = self._waiting
        joined[len(self._waiting) :] = rows[skip:]
        self._waiting = joined
        return self._blocks()

    def end(self) -> np.ndarray:
        """Give the outputs whose samples have all come but for what the held end supplies."""
        design, rows = self._design, self._waiting
        n_left = -(-(len(rows) - design.reach) // design.factor) if self._before_first == 0 else 0
        if not self._started or n_left <= 0:
            return np.empty((0, rows.shape[1]), np.float32)
        n_blocks = -(-n_left // _BLOCK_OUTPUTS)
        needed = (n_blocks - 1) * _BLOCK_OUTPUTS * design.factor + self._band.shape[1]
        self._waiting = np.concatenate([rows, np.repeat(rows[-1:], max(needed - len(rows), 0), axis=0)])
        return self._blocks()[:n_left]

    def _blocks(self) -> np.ndarray:
        rows, step = self._waiting, _BLOCK_OUTPUTS * self._design.factor
        n_blocks = (len(rows) - self._band.shape[1]) // step + 1
        if n_blocks <= 0:
            return np.empty((0, rows.shape[1]), np.float32)
        stride, item = rows.strides
        windows = as_strided(rows, (n_blocks, self._band.shape[1], rows.shape[1]), (step * stride, stride, item))
        self._waiting = rows[n_blocks * step :]
        return np.matmul(self._band, windows).reshape(n_blocks * _BLOCK_OUTPUTS, rows.shape[1])

"""What runs while samples come in: stages that take rows and give rows, whatever the size of the pieces.

Rows are float64 (samples, columns) on an unbroken count of samples. A sample that was not measured is a row of NaN in
all columns. Filters restart after it, so nothing is bridged. A whole recording, chunks and single samples go
through the same stages and give the same rows; a zero-phase stage gives its rows later than it gets them.
"""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float
from scipy.signal import sosfilt

from spikefield.signals.filters import settle_samples, steady_state

Rows = Float[np.ndarray, "_ _"]  # (samples, columns), which may differ between what comes in and what goes out
Columns = Bool[np.ndarray, "_"]
State = dict[str, np.ndarray]

_SHARE_BEYOND_LOOKAHEAD = 1e-9
_SMALLEST_BLOCK = 4096
_SHORT_ROWS = 24


class Stage(ABC):
    """One running step; a step without memory only needs `push`."""

    def __init__(self, n_columns: int) -> None:
        self.n_columns = n_columns

    @abstractmethod
    def push(self, rows: Rows) -> Rows:
        """Take the next rows and return those that are ready."""

    def flush(self) -> Rows:
        """End the stream and return the rows that waited for later samples."""
        return np.empty((0, self.n_columns))

    def set_bad(self, bad: Columns) -> Columns:
        """Learn which incoming columns are bad from now on and return which outgoing columns are."""
        return bad

    def state(self) -> State:
        """Return copies of all that the stage remembers, as plain arrays."""
        return {}

    def restore(self, state: State) -> None:  # noqa: B027
        """Continue from a state returned by `state`."""


class CausalFilter(Stage):
    """Second-order sections with their state; restarts in the steady state of the first sample after a gap."""

    def __init__(self, sos: Float[np.ndarray, "sections 6"], n_columns: int) -> None:
        super().__init__(n_columns)
        self.sos = sos
        self._unit_state = steady_state(sos)[:, :, None]
        self._zi = np.zeros((len(sos), 2, n_columns))
        self._short_maps: dict[int, np.ndarray] = {}
        self._fresh = np.ones(n_columns, bool)
        self._any_fresh = True
        self._bad = np.zeros(n_columns, bool)

    def push(self, rows: Rows) -> Rows:
        """Filter the rows; NaN rows stay NaN."""
        if not has_gap(rows):
            return self._filter(rows)
        filtered = np.full_like(rows, np.nan)
        for piece, is_gap in runs(rows):
            if is_gap:
                self.restart()
            else:
                filtered[piece] = self._filter(rows[piece])
        return filtered

    def restart(self) -> None:
        """Forget the past of every column."""
        self._fresh[:] = self._any_fresh = True

    def set_bad(self, bad: Columns) -> Columns:
        """Restart the columns that turn bad or good."""
        self._fresh |= bad != self._bad
        self._any_fresh = bool(self._fresh.any())
        self._bad = bad.copy()
        return bad

    def state(self) -> State:
        """Return the sections' state."""
        return {"zi": self._zi.copy(), "fresh": self._fresh.copy(), "bad": self._bad.copy()}

    def restore(self, state: State) -> None:
        """Continue from the sections' state."""
        self._zi, self._fresh, self._bad = state["zi"].copy(), state["fresh"].copy(), state["bad"].copy()
        self._any_fresh = bool(self._fresh.any())

    def _filter(self, rows: Rows) -> Rows:
        if not len(rows):
            return rows
        if self._any_fresh:
            self._zi[:, :, self._fresh] = self._unit_state * rows[0, self._fresh]
            self._fresh[:] = self._any_fresh = False
        if len(rows) > _SHORT_ROWS:
            filtered, self._zi = sosfilt(self.sos, rows, axis=0, zi=self._zi)
            return filtered
        after = self._short_map(len(rows)) @ np.concatenate([rows, self._zi.reshape(-1, self.n_columns)])
        self._zi = after[len(rows) :].reshape(self._zi.shape)
        return after[: len(rows)]

    def _short_map(self, n_rows: int) -> np.ndarray:
        """Return the matrix from (rows, state) to (filtered rows, next state): scipy's own filter of unit inputs.

        A live stream pushes few rows at a time; one product takes a fifth of the time of a call of `sosfilt`.
        """
        if n_rows not in self._short_maps:
            units = np.eye(n_rows + 2 * len(self.sos))
            filtered, zi = sosfilt(self.sos, units[:n_rows], axis=0, zi=units[n_rows:].reshape(len(self.sos), 2, -1))
            self._short_maps[n_rows] = np.concatenate([filtered, zi.reshape(2 * len(self.sos), -1)])
        return self._short_maps[n_rows]


class ZeroPhaseFilter(Stage):
    """The same sections forward and then backward, in blocks that look far enough ahead.

    The forward pass runs once, with its state. The backward pass over a block starts later than the block by the
    time in which the sections forget (to 1e-9 of their weight), so blocks join without a seam. Blocks are counted
    in samples since the last gap and do not depend on how the rows came in.
    """

    def __init__(self, sos: Float[np.ndarray, "sections 6"], n_columns: int) -> None:
        super().__init__(n_columns)
        self.sos = sos
        self._forward = CausalFilter(sos, n_columns)
        self._unit_state = steady_state(sos)[:, :, None]
        lookahead = settle_samples(sos, form="causal", share=_SHARE_BEYOND_LOOKAHEAD)
        self._block = max(lookahead, _SMALLEST_BLOCK)
        self._waiting = np.empty((lookahead + self._block, n_columns))
        self._n_waiting = 0

    def push(self, rows: Rows) -> Rows:
        """Take rows and return those whose future has come; a gap ends the wait."""
        ready: list[Rows] = []
        for piece, is_gap in runs(rows):
            if is_gap:
                ready += [self._end_run(), rows[piece]]
            else:
                ready += self._take(self._forward.push(rows[piece]))
        return np.concatenate(ready) if ready else rows[:0]

    def flush(self) -> Rows:
        """Return the rows that still wait."""
        return self._end_run()

    def set_bad(self, bad: Columns) -> Columns:
        """Restart the forward pass of the columns that turn bad or good."""
        return self._forward.set_bad(bad)

    def state(self) -> State:
        """Return the forward state and the rows that wait."""
        return {**self._forward.state(), "waiting": self._waiting[: self._n_waiting].copy()}

    def restore(self, state: State) -> None:
        """Continue from a forward state and waiting rows."""
        self._forward.restore(state)
        self._n_waiting = len(state["waiting"])
        self._waiting[: self._n_waiting] = state["waiting"]

    def _take(self, rows: Rows) -> Iterator[Rows]:
        while len(rows):
            room = len(self._waiting) - self._n_waiting
            taken, rows = rows[:room], rows[room:]
            self._waiting[self._n_waiting : self._n_waiting + len(taken)] = taken
            self._n_waiting += len(taken)
            if self._n_waiting == len(self._waiting):
                yield self._backward()[: self._block].copy()
                self._n_waiting -= self._block
                self._waiting[: self._n_waiting] = self._waiting[self._block :].copy()

    def _end_run(self) -> Rows:
        ready = self._backward()
        self._n_waiting = 0
        self._forward.restart()
        return ready

    def _backward(self) -> Rows:
        rows = self._waiting[: self._n_waiting][::-1]
        if not len(rows):
            return rows
        return sosfilt(self.sos, rows, axis=0, zi=self._unit_state * rows[0])[0][::-1]


def has_gap(rows: Rows) -> bool:
    """Tell whether any row is NaN; rows are NaN in all columns or in none."""
    return bool(np.isnan(rows[:, 0]).any())


def runs(rows: Rows) -> Iterator[tuple[slice, bool]]:
    """Yield the slices of measured rows and of gaps, in order."""
    missing = np.isnan(rows[:, 0])
    if not missing.any():
        if len(rows):
            yield slice(0, len(rows)), False
        return
    edges = np.flatnonzero(np.diff(missing)) + 1
    bounds = [0, *edges.tolist(), len(rows)]
    for first, last in itertools.pairwise(bounds):
        yield slice(first, last), bool(missing[first])

"""Fill in bad channels of live samples by a named policy, before the signal chain; every filled sample is reported."""

from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float

from spikefield.errors import InputError
from spikefield.signals.chain import FittedChain

BadPolicy = Literal["interpolate", "hold", "mask"]
_MOST_PATTERNS = 64

Rows = Float[np.ndarray, "sample channel"]


class ChannelRepair:
    """Bad channels are those named by `set_bad`, and whatever is not finite.

    `interpolate` puts the nearest good channels' values there, in the order of the channels; `hold` the channel's own
    last good value; `mask` leaves them, for the network to be told that they are absent. `last` holds the last good
    value of every channel.
    """

    def __init__(self, policy: BadPolicy | str, used: Bool[np.ndarray, " channel"]) -> None:
        if policy not in get_args(BadPolicy):
            raise InputError(
                f"`bad` must be one of {', '.join(get_args(BadPolicy))}, got {policy!r}. Choose one of them."
            )
        self.policy = policy
        self._used = used
        self._bad = np.zeros(len(used), bool)
        self._any_bad = False
        self._weights: dict[bytes, np.ndarray] = {}
        self.reset()

    def reset(self) -> None:
        """Forget the last good values."""
        self.last = np.full(len(self._used), np.nan)

    def set_bad(self, bad: Bool[np.ndarray, " channel"]) -> None:
        """Take the channels marked in `bad` (channel,) for bad from now on, and no others."""
        self._bad, self._any_bad = bad & self._used, bool((bad & self._used).any())

    def lost(self, rows: Rows) -> Bool[np.ndarray, " sample"]:
        """Mark the rows (sample,) that hold no good channel at all."""
        good = np.isfinite(rows) & (self._used & ~self._bad)
        return np.asarray(~good.any(axis=1))

    def __call__(self, rows: Rows) -> Iterator[tuple[Rows, Bool[np.ndarray, " channel"]]]:
        """Yield the rows, repaired, in pieces in which the same channels are bad, and these channels."""
        if not self._any_bad and np.isfinite(rows).all():
            self.last = rows[-1].copy()
            yield rows, self._bad
            return
        bad = (~np.isfinite(rows) & self._used) | self._bad
        borders = np.flatnonzero((bad[1:] != bad[:-1]).any(axis=1)) + 1
        for piece in np.split(np.arange(len(rows)), borders):
            yield self._repaired(rows[piece], bad[piece[0]]), bad[piece[0]]

    def state(self) -> dict[str, np.ndarray]:
        """Return all that is remembered."""
        return {"last": self.last.copy(), "bad": self._bad.copy()}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continue from a `state`."""
        self.last = state["last"].copy()
        self.set_bad(state["bad"])

    def _repaired(self, rows: Rows, bad: Bool[np.ndarray, " channel"]) -> Rows:
        if bad.any():
            rows = rows.copy()
            if self.policy == "hold":
                rows[:, bad] = np.where(np.isfinite(self.last), self.last, self._between(rows[:1], bad)[0])[bad]
            else:
                rows[:, bad] = self._between(rows, bad)[:, bad]
        last = rows[-1].copy()
        last[bad] = np.where(np.isfinite(self.last), self.last, last)[bad]
        self.last = last
        return rows

    def _between(self, rows: Rows, bad: Bool[np.ndarray, " channel"]) -> Rows:
        """Return the rows with every channel from the good ones beside it; good channels stay."""
        key = bad.tobytes()
        if key not in self._weights:
            if len(self._weights) >= _MOST_PATTERNS:
                self._weights.clear()
            everywhere, good = np.arange(len(bad)), np.flatnonzero(~bad & self._used)
            unit = np.eye(len(good))
            self._weights[key] = np.stack([np.interp(everywhere, good, row) for row in unit])
        return rows[:, ~bad & self._used] @ self._weights[key]


def features_of_channels(chain: FittedChain) -> Bool[np.ndarray, "channel feature"]:
    """Return (channel, feature), true where a channel gives a feature."""
    stream, n_good = chain.stream(), len(chain.channel_ids) - len(chain.bad_channels)
    found = np.zeros((len(chain.channel_ids), len(chain.feature_names)), bool)
    for row, channel in zip(found, chain.channel_ids, strict=True):
        if channel in chain.bad_channels:
            continue
        if n_good > 1:
            stream.set_bad_channels([channel])
        row[:] = stream.bad_features if n_good > 1 else True
    return found

"""Compare a live source with the training: its channels and rate by what it says, its units by the first bins."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from spikefield.errors import InputError
from spikefield.signals.chain import FittedChain
from spikefield.signals.scaling import ZScoreStep

_BINS = 50
_OTHER_UNITS = 30.0
_INTEGER_STEP = 0.5
_SAME_RATE = 0.01


class UnitCheck:
    """Looks at the first bins of a stream, once; `refusal` then says what is wrong, until it is taken."""

    def __init__(self, chain: FittedChain) -> None:
        scales = [np.median(step.scale) for step in chain.steps if isinstance(step, ZScoreStep)]
        self._training_scale = float(scales[0]) if scales else float("inf")
        self._n_columns = len(chain.feature_names)
        self.reset()

    def reset(self) -> None:
        """Look again at the bins that come."""
        self.n_bins = 0
        self._rows = np.zeros((_BINS, self._n_columns))
        self._refusal: str | None = None

    @property
    def done(self) -> bool:
        """True once enough bins have come."""
        return self.n_bins >= _BINS

    def check_type(self, samples: np.ndarray) -> None:
        """Refuse samples (sample, channel) that are no numbers, and integers where the model learned fractions.

        Raises:
            InputError: one of these.
        """
        if samples.dtype.kind not in "iuf":
            raise InputError(f"`samples` must be numbers, got {samples.dtype}. Give them as float32.")
        if samples.dtype.kind in "iu" and self._training_scale < _INTEGER_STEP:
            raise InputError(
                f"`samples` are integers, but the model learned values of about {self._training_scale:.2g}. "
                "Multiply them by the amplifier's scale (`--scale`)."
            )

    def add(self, features: Float[np.ndarray, " feature"]) -> None:
        """Take the features of a bin (feature,), standardised by training time."""
        self._rows[self.n_bins] = features
        self.n_bins += 1
        if not self.done:
            return
        size, spread = float(np.median(np.abs(self._rows))), float(np.median(self._rows.std(axis=0)))
        if size > _OTHER_UNITS or spread < 1 / _OTHER_UNITS:
            self._refusal = (
                f"`samples` are about {size if size > 1 else spread:.2g} times as large as in training: other units, "
                "or another amplifier. Give them in the units of the training (`--scale`), and check their order "
                "(`--channel-map`)."
            )

    def raise_refusal(self) -> None:
        """Say once what is wrong.

        Raises:
            InputError: the first bins were of another size than in training.
        """
        refusal, self._refusal = self._refusal, None
        if refusal is not None:
            raise InputError(refusal)

    def state(self) -> dict[str, np.ndarray]:
        """Return all that is remembered."""
        return {"n_bins": np.array(self.n_bins), "rows": self._rows.copy()}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continue from a `state`."""
        self.n_bins, self._rows = int(state["n_bins"]), state["rows"].copy()


def check_source(chain: FittedChain, *, channel_ids: Sequence[str] | None, rate_hz: float | None) -> None:
    """Compare what a source says of itself with what the chain learned.

    Raises:
        InputError: other channels, another order, or another rate.
    """
    learned = chain.channel_ids
    if channel_ids is not None and tuple(channel_ids) != learned:
        if len(channel_ids) != len(learned):
            what = f"the source has {len(channel_ids)} channels, but the model learned {len(learned)}"
        elif set(channel_ids) == set(learned):
            what = "the source has the model's channels in another order"
        else:
            odd = next(c for c in channel_ids if c not in learned)
            what = f"the source's channel {odd!r} is not one of the model's"
        raise InputError(f"{what}. Choose and order them with `--channel-map`.")
    if rate_hz is not None and abs(rate_hz / chain.clock.rate_hz - 1) > _SAME_RATE:
        raise InputError(
            f"the source gives {rate_hz:g} Hz, but the model learned {chain.clock.rate_hz:g} Hz. "
            "Set the source to that rate, or resample it before."
        )

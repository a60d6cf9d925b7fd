"""The decoders a lab would use instead of distillation, each tuned on training time with the same effort.

Spikes, field potential or band power of a binned session come in as they are; each decoder picks among a handful of
settings by the inner folds of the readout (`tuning`), is fitted on all training time and scored on test time.
"""

from collections.abc import Callable
from functools import partial
from itertools import product

from spikefield.errors import InputError
from spikefield.evaluation.baselines import candidate_reaches, ridge_lfp, ridge_spikes, wiener, with_reach
from spikefield.evaluation.boosting import fit_boosted
from spikefield.evaluation.gru import fit_gru
from spikefield.evaluation.kalman import fit_kalman
from spikefield.evaluation.readout import Decoded, fit
from spikefield.evaluation.tuning import tuned
from spikefield.windows.binned import BinnedSession

_KALMAN_ORDERS = (1, 2)
_SHIFTS_S = (-0.2, -0.1, 0.0, 0.1, 0.2)
_COMPONENTS_AND_TREES = ((4, 50), (8, 50), (8, 150), (16, 150))
_DROPOUT_AND_STEPS = ((0.1, 100), (0.1, 300), (0.4, 100), (0.4, 300))
_WINDOW_S = 5.0
_MOST_WINDOW_BINS = 100


def kalman(session: BinnedSession, modality: str) -> Decoded:
    """Decode 'spikes' or 'lfp' with a Kalman filter of order 1 or 2 and a chosen shift of the channels."""
    channels, behavior = session.require(modality), session.require("behavior")
    shifts = dict.fromkeys(round(shift_s * 1000 / session.bin_width_ms) for shift_s in _SHIFTS_S)
    return tuned(
        session,
        [
            partial(fit_kalman, channels, behavior, order=order, shift_bins=shift)
            for order, shift in product(_KALMAN_ORDERS, shifts)
        ],
    )


def boosted(session: BinnedSession, modality: str) -> Decoded:
    """Decode 'spikes' or 'lfp' with gradient-boosted trees on lagged channels; the reach is the linear decoder's."""
    channels, behavior = session.require(modality), session.require("behavior")
    tried = [(reach, with_reach(session, channels, reach)) for reach in candidate_reaches(session.bin_width_ms)]
    reach, features = max(tried, key=lambda each: fit(session, each[1], lags=each[0].lags).inner_r2.mean())
    decoder = partial(fit_boosted, features, behavior, lags=reach.lags, guard_bins=session.split.guard_bins)
    settings = [partial(decoder, n_components=n, n_trees=n_trees) for n, n_trees in _COMPONENTS_AND_TREES]
    return tuned(session, settings)


def gru(session: BinnedSession, modality: str, *, seed: int = 0) -> Decoded:
    """Decode 'spikes' or 'lfp' with a small bidirectional GRU trained from scratch."""
    channels, behavior = session.require(modality), session.require("behavior")
    window_bins = min(_MOST_WINDOW_BINS, round(_WINDOW_S * 1000 / session.bin_width_ms))
    return tuned(
        session,
        [
            partial(fit_gru, channels, behavior, window_bins=window_bins, dropout=dropout, n_steps=n_steps, seed=seed)
            for dropout, n_steps in _DROPOUT_AND_STEPS
        ],
    )


def ridge_power(session: BinnedSession) -> Decoded:
    """Decode lagged band power by ridge, of a session whose signal chain makes band power.

    Raises:
        InputError: the session's field potential is not band power.
    """
    channels = session.require("lfp")
    if not all(name.endswith(("Hz", "/lmp")) for name in session.channel_ids):
        raise InputError(
            f"session {session.session_id!r} holds no band power. Bin it with the signal chain `band_power` for this."
        )
    return wiener(session, channels)


CLASSICAL: dict[str, Callable[[BinnedSession], Decoded]] = {
    "ridge-spikes": ridge_spikes,
    "ridge-lfp": ridge_lfp,
    "ridge-power": ridge_power,
    "kalman-spikes": partial(kalman, modality="spikes"),
    "kalman-lfp": partial(kalman, modality="lfp"),
    "boosted-spikes": partial(boosted, modality="spikes"),
    "boosted-lfp": partial(boosted, modality="lfp"),
    "gru-spikes": partial(gru, modality="spikes"),
    "gru-lfp": partial(gru, modality="lfp"),
}
"""Name of the model in result tables -> its decoder."""

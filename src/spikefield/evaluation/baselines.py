"""What a network has to beat, on the same split with the same readout: lagged ridge, and what chance alone gives.

Binned spikes or field potential come in as they are recorded, without any network; scores beside the networks' go out.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Num

from spikefield.evaluation.lags import Reach, averaged, reach_of
from spikefield.evaluation.readout import Decoded, decode, fit, score
from spikefield.windows.binned import BinnedSession

REACHES_S = (0.1, 0.2, 0.3, 0.4)
_KINDS = ("train", "valid", "test")
_N_SHUFFLES = 5


def ridge_spikes(session: BinnedSession) -> Decoded:
    """Decode behaviour from lagged spike counts (a Wiener filter)."""
    return wiener(session, session.require("spikes"))


def ridge_lfp(session: BinnedSession) -> Decoded:
    """Decode behaviour from the lagged field potential (a Wiener filter)."""
    return wiener(session, session.require("lfp"))


def wiener(session: BinnedSession, channels: Num[np.ndarray, "bin channel"]) -> Decoded:
    """Decode behaviour by ridge on lagged channels (bin, channel); their reach is chosen inside training time.

    Every reach of `REACHES_S` is cross-validated over blocks of the training bins, the best by mean R² is kept.
    """
    tried = []
    for reach in candidate_reaches(session.bin_width_ms):
        features = with_reach(session, channels, reach)
        tried.append((fit(session, features, lags=reach.lags), features, reach))
    readout, features, reach = max(tried, key=lambda each: _mean(each[0].inner_r2))
    return replace(score(session, features, readout, lags=reach.lags), width_bins=reach.width_bins)


def candidate_reaches(bin_width_ms: float) -> list[Reach]:
    """Return the different reaches that `REACHES_S` come to on a grid, the shortest first."""
    return list(dict.fromkeys(reach_of(reach_s, bin_width_ms=bin_width_ms) for reach_s in REACHES_S))


def with_reach(
    session: BinnedSession, channels: Num[np.ndarray, "bin channel"], reach: Reach
) -> Num[np.ndarray, "bin channel"]:
    """Return channels (bin, channel) averaged over the width of the reach's lags, inside the session's stretches."""
    if reach.width_bins == 1:
        return channels
    stretches = [stretch for kind in _KINDS for stretch in session.stretches(kind)]
    return averaged(channels, stretches, width_bins=reach.width_bins)


@dataclass(frozen=True, eq=False)
class Null:
    """Score of features against shuffled behaviour: R² (shuffle, dim), their mean and the bins scored on average."""

    names: tuple[str, ...]
    r2: Float[np.ndarray, "dim"]
    r2_of_shuffle: Float[np.ndarray, "shuffle dim"]
    n_test: int

    @property
    def mean_r2(self) -> float:
        """Mean R² over the behaviour dimensions for which it is defined; NaN if none."""
        return _mean(self.r2)


def null(
    session: BinnedSession, features: Num[np.ndarray, "bin feature"], *, seed: int, lags: tuple[int, ...] = (0,)
) -> Null:
    """Return the scores when features (bin, feature) and behaviour no longer belong together, mean of five shuffles.

    In each shuffle the behaviour of training and test time is shuffled within each kind (`shuffled_behavior`), then
    the readout is fitted on the shuffled training behaviour and scored on the shuffled test behaviour, penalty and all.
    Without trials it is near or below 0; with trials it is what the time within a trial alone gives.
    """
    generator = np.random.default_rng(seed)
    runs = [
        decode(replace(session, behavior=shuffled_behavior(session, generator)), features, lags=lags)
        for _ in range(_N_SHUFFLES)
    ]
    each = np.stack([run.r2 for run in runs])
    return Null(session.behavior_names, each.mean(0), each, round(float(np.mean([run.n_test for run in runs]))))


def wiener_null(
    session: BinnedSession, channels: Num[np.ndarray, "bin channel"], decoded: Decoded, *, seed: int
) -> Null:
    """Return the null of a lagged ridge: channels (bin, channel) and lags as for `decoded`, behaviour shuffled."""
    features = with_reach(session, channels, Reach(decoded.lags, decoded.width_bins))
    return null(session, features, seed=seed, lags=decoded.lags)


def excess(decoded: Decoded, chance: Null) -> Float[np.ndarray, "dim"]:
    """Return (dim,), by how much each dimension's R² lies above the null's."""
    return decoded.r2 - chance.r2


def shuffled_behavior(session: BinnedSession, generator: np.random.Generator) -> Float[np.ndarray, "bin dim"]:
    """Return behaviour (bin, dim) that no longer belongs to its bins; each kind of time keeps its own.

    * Continuous recordings: within each stretch, behaviour is shifted circularly by a quarter to three quarters of the
      stretch, which keeps its values and its smoothness.
    * Recordings with trials, where each stretch is a trial: whole trials are exchanged so that none keeps its own (a
      random cycle). The bin that lies i bins after its trial's start gets what lay i bins after the other's, so the
      time course within a trial stays; bins past the other trial's end become NaN and are not scored. A kind with a
      single trial is shifted.
    """
    behavior = session.require("behavior")
    shuffled = np.array(behavior, copy=True)
    exchange = _stretches_are_trials(session)
    for kind in _KINDS:
        stretches = session.stretches(kind)
        if exchange and len(stretches) > 1:
            order = generator.permutation(len(stretches))
            for receiver, giver in zip(order, np.roll(order, 1), strict=True):
                shuffled[slice(*stretches[receiver])] = _of_other_trial(session, stretches[giver], stretches[receiver])
            continue
        for start, end in stretches:
            length = end - start
            shift = int(generator.integers(length // 4, length - length // 4 + 1))
            shuffled[start:end] = np.roll(behavior[start:end], shift, axis=0)
    return shuffled


def _stretches_are_trials(session: BinnedSession) -> bool:
    """Tell whether most stretches are a segment of their own; long segments are cut into blocks instead."""
    segments = [session.segment[start] for kind in _KINDS for start, _ in session.stretches(kind)]
    return session.has_trials and 2 * len(set(segments)) > len(segments)


def _of_other_trial(
    session: BinnedSession, giver: tuple[int, int], receiver: tuple[int, int]
) -> Float[np.ndarray, "bin dim"]:
    """Return the giver's behaviour at the receiver's times since its trial began, NaN where there is none."""
    behavior = session.require("behavior")
    source = np.arange(*receiver) - _trial_start(session, receiver) + _trial_start(session, giver)
    inside = (source >= giver[0]) & (source < giver[1])
    return np.where(inside[:, None], behavior[np.clip(source, giver[0], giver[1] - 1)], np.nan)


def _trial_start(session: BinnedSession, stretch: tuple[int, int]) -> int:
    """Return the first bin of the trial that holds a stretch; a guard gap may have cut the trial's own beginning."""
    return int(np.argmax(session.segment == session.segment[stretch[0]]))


def _mean(values: np.ndarray) -> float:
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if len(defined) else float("-inf")

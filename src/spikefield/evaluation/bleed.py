"""At which frequencies a field potential holds the behaviour: is the field read, or are spikes that bleed into it?

The waveforms of nearby spikes reach into the field from about 100 Hz on, so a decoder of the whole field may be one of
spikes. The prepared field is cut into bands; each band's wave (where the bins can hold it) and log power, with lags, go
to the readout that judges every model. Taken together from the lowest up they are the field low-passed at each cutoff.
"""

import itertools
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from torch_brain.data import Data

from spikefield.errors import InputError
from spikefield.evaluation.lags import Reach, averaged, reach_of
from spikefield.evaluation.readout import decode
from spikefield.signals.band_pass import BandPassConfig
from spikefield.signals.band_power import BandPowerConfig
from spikefield.signals.chain import FittedChain, fit_chain
from spikefield.signals.chain_config import ChainConfig
from spikefield.signals.notch import NotchConfig
from spikefield.signals.reference import ReferenceConfig
from spikefield.signals.resample import BinsConfig
from spikefield.signals.scaling import LogConfig, ZScoreConfig
from spikefield.signals.steps import StepConfig
from spikefield.windows.binned import BinnedSession, BinningConfig, bin_session, choose_bin_width_ms

SPIKES_FROM_HZ = 100.0
_EDGES_HZ = (0.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 300.0, 450.0)
_HIGHEST_SHARE_OF_RATE = 0.45
_PREFERRED_BIN_MS = 20.0
_LEAST_SAMPLES_A_BIN = 2.0
_REACHES_S = (0.2, 0.1, 0.04)
_MOST_FEATURES = 3000
_NEARLY_ALL = 0.9
_LEAST_R2 = 0.05

_Bands = tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Cutoff:
    """R² of the field below `high_hz`, and of the band `low_hz` to `high_hz` alone; means over behaviour dims."""

    low_hz: float
    high_hz: float
    r2_below: float
    r2_band: float


@dataclass(frozen=True, kw_only=True)
class BleedCheck:
    """What one session's field holds of the behaviour, by frequency; no cutoffs where its rate allows no test."""

    session_id: str
    rate_hz: float
    n_test: int
    cutoffs: tuple[Cutoff, ...]

    @property
    def best_r2(self) -> float:
        """The highest R² of any cutoff; NaN where nothing was tested."""
        return max((cutoff.r2_below for cutoff in self.cutoffs), default=float("nan"))

    @property
    def reached_hz(self) -> float | None:
        """The lowest cutoff below which nine tenths of the best R² lie; None where nothing is read."""
        if not self.best_r2 >= _LEAST_R2:
            return None
        return next(c.high_hz for c in self.cutoffs if c.r2_below >= _NEARLY_ALL * self.best_r2)

    @property
    def verdict(self) -> Literal["not tested", "nothing read", "field", "spikes"]:
        """Whether what is read lies below the frequencies of spike waveforms, or only reaches its best with them."""
        if not self.cutoffs:
            return "not tested"
        if self.reached_hz is None:
            return "nothing read"
        return "field" if self.reached_hz <= SPIKES_FROM_HZ else "spikes"

    @property
    def sentence(self) -> str:
        """The verdict in a sentence or two."""
        if self.verdict == "not tested":
            return f"The field comes at {self.rate_hz:g} Hz: nothing can be tested. Prepare it from a faster recording."
        top = self.cutoffs[-1].high_hz
        if self.verdict == "nothing read":
            return f"Nothing is read from the field up to {top:g} Hz: R² is {self.best_r2:.2f} at best."
        said = f"What you read comes from below {self.reached_hz:g} Hz (R² {self._at(self.reached_hz or top):.2f})"
        if self.verdict == "spikes":
            below = self._at(SPIKES_FROM_HZ)
            return (
                f"{said}, but only {below:.2f} from below {SPIKES_FROM_HZ:g} Hz: spikes that bleed into the field may "
                "be what you read. Call it multi-unit activity, or low-pass the field."
            )
        if top < SPIKES_FROM_HZ:
            return f"{said}. At {self.rate_hz:g} Hz the field holds nothing above {top:g} Hz, so no more can be tested."
        return f"{said}; spike waveforms, which reach in from about {SPIKES_FROM_HZ:g} Hz on, add little."

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON; NaN becomes None."""
        rows = [{k: None if np.isnan(v) else round(v, 4) for k, v in asdict(c).items()} for c in self.cutoffs]
        told = {"session": self.session_id, "lfp_rate_hz": round(self.rate_hz, 3), "n_test": self.n_test}
        return {**told, "verdict": self.verdict, "reached_hz": self.reached_hz, "sentence": self.sentence, "r2": rows}

    def _at(self, high_hz: float) -> float:
        return next(c.r2_below for c in self.cutoffs if c.high_hz == high_hz)


def check_bleed(data: Data) -> BleedCheck:
    """Decode behaviour from a prepared session's field below each of 5, 10, 20, 50, 100, 200, 300 and 450 Hz.

    Zero-phase filters; statistics, weights and penalty from training time, scores from test time.

    Raises:
        InputError: no field, no behaviour, or too little of them.
    """
    session_id = str(data.session.id)
    for name in ("lfp", "behavior"):
        if name not in data:
            raise InputError(f"session {session_id!r} has no {name}, which this check needs. Leave it out.")
    rate_hz = float(data.lfp.sampling_rate)
    width_ms, _ = choose_bin_width_ms([data], preferred_ms=_PREFERRED_BIN_MS)
    bands = bands_within(rate_hz)
    if len(bands) < 2 or rate_hz < _LEAST_SAMPLES_A_BIN * 1000 / width_ms:
        return BleedCheck(session_id=session_id, rate_hz=rate_hz, n_test=0, cutoffs=())
    session, features = _features(data, bands, width_ms)
    reach = _reach(sum(values.shape[1] for values in features), session.bin_width_ms)
    features = [_averaged(session, values, reach) for values in features]
    below, alone = [], []
    for i in range(len(bands)):
        below.append(decode(session, np.concatenate(features[: i + 1], axis=1), lags=reach.lags))
        alone.append(below[0] if i == 0 else decode(session, features[i], lags=reach.lags))
    cutoffs = tuple(
        Cutoff(low_hz=low, high_hz=high, r2_below=below[i].mean_r2, r2_band=alone[i].mean_r2)
        for i, (low, high) in enumerate(bands)
    )
    return BleedCheck(session_id=session_id, rate_hz=rate_hz, n_test=below[0].n_test, cutoffs=cutoffs)


def bands_within(rate_hz: float) -> _Bands:
    """Return the bands that a field of this rate holds, lowest first."""
    pairs = itertools.pairwise(_EDGES_HZ)
    return tuple((low, high) for low, high in pairs if high <= _HIGHEST_SHARE_OF_RATE * rate_hz)


def _features(
    data: Data, bands: _Bands, width_ms: float
) -> tuple[BinnedSession, list[Float[np.ndarray, "bin feature"]]]:
    """Return the session, split with guards as wide as the filters reach, and the features of each band."""
    config = BinningConfig(bin_width_ms=width_ms)
    session = bin_session(data, config=config)
    waves = [_wave(low, high) for low, high in bands if high <= 500 / width_ms]
    power = _power(bands[1:])
    reach_s = max(_fit(data, session, chain).reach_s for chain in (waves[0], _power(bands[1:2])))
    split = replace(config.split, guard_s=config.split.guard_s + reach_s)
    session = bin_session(data, config=replace(config, split=split))
    signal = np.asarray(data.lfp.signal)
    features = [_fit(data, session, chain).apply(signal) for chain in waves]
    features += [features[0][:, :0]] * (len(bands) - len(waves))
    powers = _fit(data, session, power).apply(signal)
    for i in range(1, len(bands)):
        features[i] = np.concatenate([features[i], powers[:, i - 1 :: len(bands) - 1]], axis=1)
    complete = np.logical_and.reduce([np.isfinite(values).all(axis=1) for values in features])
    return replace(session, segment=np.where(complete, session.segment, -1)), features


def _wave(low_hz: float, high_hz: float) -> ChainConfig:
    return _chain(BandPassConfig(low_hz=low_hz or None, high_hz=high_hz, form="zero_phase"), BinsConfig())


def _power(bands: _Bands) -> ChainConfig:
    return _chain(BandPowerConfig(bands_hz=bands, form="zero_phase"), BinsConfig(), LogConfig())


def _chain(*middle: StepConfig) -> ChainConfig:
    return ChainConfig(steps=(NotchConfig(form="zero_phase"), ReferenceConfig(), *middle, ZScoreConfig()))


def _fit(data: Data, session: BinnedSession, chain: ChainConfig) -> FittedChain:
    assert session.chain is not None
    return fit_chain(
        chain,
        np.asarray(data.lfp.signal),
        rate_hz=session.chain.clock.rate_hz,
        start_s=session.chain.clock.start_s,
        channel_ids=session.chain.channel_ids,
        bin_width_ms=session.bin_width_ms,
        grid_start_s=session.start_s,
        n_bins=session.n_bins,
        within=session.split.train,
    )


def _reach(n_features: int, bin_width_ms: float) -> Reach:
    """Return the widest reach with which the readout stays small enough to be fitted in seconds."""
    for reach_s in _REACHES_S:
        reach = reach_of(reach_s, bin_width_ms=bin_width_ms)
        if len(reach.lags) * n_features <= _MOST_FEATURES:
            return reach
    return Reach((0,), 1)


def _averaged(session: BinnedSession, values: np.ndarray, reach: Reach) -> Float[np.ndarray, "bin feature"]:
    """Return the moving average that each lag stands for, inside the stretches that are scored."""
    stretches = session.stretches("train") + session.stretches("test")
    return averaged(values, stretches, width_bins=reach.width_bins)

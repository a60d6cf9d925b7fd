"""Clean the field potential of a session step by step, fitted on training time, whole or live with the same result.

    chain = fit_chain(preset("bins"), lfp, rate_hz=..., ..., within=train)    statistics from training bins only
    chain.apply(lfp)                                                          (bins, features), NaN = not measured
    stream = chain.stream(); stream.push(samples)                             the bins that these samples complete

Whole arrays run through the same stages as a live stream, a piece at a time, so the two cannot differ.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Complex, Float, Float32

from spikefield.errors import InputError
from spikefield.signals.band_power import BandPowerStep
from spikefield.signals.chain_config import ChainConfig, preset
from spikefield.signals.decimate import DecimateStep
from spikefield.signals.filters import mean_delay_ms
from spikefield.signals.reference import ReferenceConfig, ReferenceStep
from spikefield.signals.resample import BinsConfig, BinStep
from spikefield.signals.scaling import LogConfig, LogStep, ZScoreConfig, ZScoreStep
from spikefield.signals.stages import Rows, Stage
from spikefield.signals.steps import Clock, FittedStep, Nothing, Signal, SosStep, StepConfig, Training

_PIECE_SAMPLES = 4096
_SAME_RECORDING_RATE = 0.01
_DELAY_BAND_HZ = (1.0, 20.0)
_DELAY_SHARE_OF_BIN_RATE = 0.2
_FITTED: dict[str, type[FittedStep]] = {
    kind.kind: kind
    for kind in (SosStep, Nothing, ReferenceStep, DecimateStep, BandPowerStep, BinStep, LogStep, ZScoreStep)
}


def fit_chain(
    config: ChainConfig | str,
    lfp: Float[np.ndarray, "samples channels"],
    *,
    rate_hz: float,
    start_s: float,
    channel_ids: Sequence[str],
    bin_width_ms: float,
    grid_start_s: float,
    n_bins: int,
    within: Bool[np.ndarray, " bins"],
    bad_channels: Sequence[str] = (),
) -> "FittedChain":
    """Fit a chain to one session.

    Args:
        config: the steps, or the name of a preset.
        lfp: (samples, channels), regular; NaN = not measured. A sample NaN in one channel counts as missing in all.
        rate_hz, start_s: measured rate, and time of the first sample.
        channel_ids: one name a channel; those in `bad_channels` take no part and give no feature.
        bin_width_ms, grid_start_s, n_bins: the session's bin grid.
        within: (bins,), true in training bins; every statistic comes from these.

    Raises:
        InputError: shapes, names, rates or masks that do not fit, or a channel that is constant in training time.
    """
    config = preset(config) if isinstance(config, str) else config
    ids = _checked_ids(lfp, channel_ids, bad_channels)
    clock = Clock(rate_hz, start_s, bin_width_ms, grid_start_s, n_bins)
    _check_overlap(clock, len(lfp))
    if within.shape != (n_bins,) or not within.any():
        raise InputError(
            f"`within` must mark some of the {n_bins} bins, got shape {within.shape}, {within.sum()} marked. "
            "Give the training mask of the split."
        )
    chain = FittedChain(config=config, channel_ids=ids, bad_channels=tuple(bad_channels), clock=clock, steps=())
    wanted, left_out = _steps_for(config, clock)
    for step in wanted:
        rows = _input_rows(chain, lfp)
        fitted = step.fit(chain.output, Training(rows=rows, within=within, clock=clock))
        chain = replace(chain, steps=(*chain.steps, fitted))
    return replace(chain, steps=(*left_out, *chain.steps))


@dataclass(frozen=True)
class FittedChain:
    """A chain with all it has learned, bound to one recording's clock."""

    config: ChainConfig
    channel_ids: tuple[str, ...]
    bad_channels: tuple[str, ...]
    clock: Clock
    steps: tuple[FittedStep, ...] = field(repr=False)

    def apply(self, lfp: Float[np.ndarray, "samples channels"]) -> Float32[np.ndarray, "bins features"]:
        """Return the features (bins, features) of every bin of the grid; NaN where nothing was measured."""
        return _run(self, lfp).astype(np.float32)

    def stream(self) -> "ChainStream":
        """Return a running form, whose first sample comes at `clock.start_s` and first bin at `clock.grid_start_s`."""
        return ChainStream(self)

    def with_clock(self, *, rate_hz: float, start_s: float, grid_start_s: float, n_bins: int = 1) -> "FittedChain":
        """Return the same chain for another recording of the same channels at (nearly) the same rate.

        For a live stream `n_bins` does not matter.

        Raises:
            InputError: another rate.
        """
        if abs(rate_hz / self.clock.rate_hz - 1) > _SAME_RECORDING_RATE:
            raise InputError(
                f"`rate_hz` must be the rate that the chain was fitted at, {self.clock.rate_hz:g} Hz, got {rate_hz:g}. "
                "Resample the signal or fit another chain."
            )
        clock = replace(self.clock, rate_hz=rate_hz, start_s=start_s, grid_start_s=grid_start_s, n_bins=n_bins)
        if clock.on_grid != self.clock.on_grid:
            raise InputError(
                f"`rate_hz` {rate_hz:g} is not exactly the bin rate {clock.bin_rate_hz:g} Hz, as in the fit. "
                "Resample the signal, or fit another chain."
            )
        return replace(self, clock=clock)

    @property
    def output(self) -> Signal:
        """What leaves the last step."""
        return self._signals[-1]

    @property
    def feature_names(self) -> tuple[str, ...]:
        """One name a feature."""
        return self.output.columns

    @property
    def is_causal(self) -> bool:
        """True if no bin depends on a sample after its end."""
        forms = [getattr(step, "form", "causal") for step in self.steps]
        methods = [step.method for step in self.steps if isinstance(step, BinStep)]
        return all(form == "causal" for form in forms) and all(method in ("mean", "as_is") for method in methods)

    @cached_property
    def reach_s(self) -> float:
        """How far around a bin its value looks, but for 1 %: the guard gap that a split needs."""
        return sum(step.reach_s(signal) for step, signal in self._with_input())

    @cached_property
    def delay_ms(self) -> float:
        """How late the features are against their bin's centre: mean group delay, 1 to 20 Hz (or 1/5 bin rate).

        Powers are later by the slowest band's delay.
        """
        high_hz = min(_DELAY_BAND_HZ[1], _DELAY_SHARE_OF_BIN_RATE * self.clock.bin_rate_hz)
        low_hz = min(_DELAY_BAND_HZ[0], high_hz / 2)
        frequencies_hz = np.linspace(low_hz, high_hz, 200)
        envelope_ms = sum(step.envelope_delay_ms(signal) for step, signal in self._with_input())
        return mean_delay_ms(self.response(frequencies_hz), frequencies_hz) + envelope_ms

    @cached_property
    def fold_back(self) -> float:
        """The largest part of a tone above half the bin rate that folds back into the bins."""
        frequencies_hz = np.linspace(self.clock.bin_rate_hz, max(self.clock.rate_hz, self.clock.bin_rate_hz), 4001) / 2
        return float(np.max(np.abs(self.response(frequencies_hz))))

    def response(self, frequencies_hz: Float[np.ndarray, " frequencies"]) -> Complex[np.ndarray, " frequencies"]:
        """Return gain and phase (frequencies,) from a channel to its feature, reference and scaling set aside.

        Above half the bin rate this is the gain with which a tone folds back.
        """
        total = np.ones(len(frequencies_hz), complex)
        for step, signal in self._with_input():
            total *= step.response(frequencies_hz, signal, self.clock)
        return total

    def describe(self) -> str:
        """Return one line a step, then reach and delay."""
        lines = [step.describe() for step in self.steps]
        if self.bad_channels:
            lines.insert(0, f"bad channels left out: {', '.join(self.bad_channels)}")
        if self.is_causal:
            lines.append(f"causal: {self.delay_ms:.1f} ms behind the bin's centre, ready at the bin's end")
        else:
            lines.append("not causal: looks ahead, not for live use")
        lines.append(f"reach {self.reach_s:.3g} s")
        takes_power = any(isinstance(step, BandPowerStep) for step in self.steps)
        if not self.clock.on_grid and not takes_power:
            nyquist_hz = self.clock.bin_rate_hz / 2
            lines.append(f"of a tone above {nyquist_hz:g} Hz at most {self.fold_back:.1%} folds back into the bins")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the arrays, for JSON."""
        return {
            "config": self.config.to_dict(),
            "channel_ids": list(self.channel_ids),
            "bad_channels": list(self.bad_channels),
            "clock": {f.name: getattr(self.clock, f.name) for f in fields(Clock)},
            "steps": [{"kind": step.kind, **_values(step, arrays=False)} for step in self.steps],
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays, by flat names, for safetensors."""
        return {f"steps.{i}.{k}": v for i, step in enumerate(self.steps) for k, v in _values(step, arrays=True).items()}

    @classmethod
    def from_dict(cls, content: dict[str, Any], arrays: dict[str, np.ndarray]) -> "FittedChain":
        """Rebuild from `to_dict` and `arrays`."""
        return cls(
            config=ChainConfig.from_dict(content["config"]),
            channel_ids=tuple(content["channel_ids"]),
            bad_channels=tuple(content["bad_channels"]),
            clock=Clock(**content["clock"]),
            steps=tuple(_rebuilt(i, entry, arrays) for i, entry in enumerate(content["steps"])),
        )

    @cached_property
    def _signals(self) -> list[Signal]:
        good = tuple(c for c in self.channel_ids if c not in self.bad_channels)
        signals = [Signal(rate_hz=self.clock.rate_hz, columns=good)]
        for step in self.steps:
            after = step.output(signals[-1])
            signals.append(replace(after, rate_hz=self.clock.bin_rate_hz) if after.on_bins else after)
        return signals

    def _with_input(self) -> list[tuple[FittedStep, Signal]]:
        return [(s, i) for s, i in zip(self.steps, self._signals, strict=False) if not isinstance(s, Nothing)]

    def _stages(self) -> list[Stage]:
        """Return the running steps; neighbouring filters of one form become one cascade."""
        joined: list[tuple[FittedStep, Signal]] = []
        for step, signal in self._with_input():
            last = joined[-1][0] if joined else None
            if isinstance(step, SosStep) and isinstance(last, SosStep) and last.form == step.form:
                joined[-1] = (last.joined(step), joined[-1][1])
            else:
                joined.append((step, signal))
        return [step.stage(signal, self.clock) for step, signal in joined]


class ChainStream:
    """A chain that runs: push samples in any pieces, get the bins they complete, in order from the grid's first."""

    def __init__(self, chain: FittedChain) -> None:
        self.chain = chain
        self._stages = chain._stages()
        self._keep = np.array([c not in chain.bad_channels for c in chain.channel_ids])
        self._all_kept = bool(self._keep.all())
        self._bad = np.zeros(int(self._keep.sum()), bool)
        self._bad_features = np.zeros(len(chain.feature_names), bool)
        self._any_bad = False

    def push(self, samples: Float[np.ndarray, "samples channels"]) -> Float[np.ndarray, "bins features"]:
        """Take the next (samples, channels) of all channels of the fit; return the complete bins (bins, features).

        A sample with NaN in any good channel counts as not measured.

        Raises:
            InputError: another number of channels.
        """
        if samples.ndim != 2 or samples.shape[1] != len(self._keep):
            raise InputError(
                f"`samples` must be (samples, {len(self._keep)} channels), got shape {samples.shape}. "
                "Give the channels that the chain was fitted on."
            )
        rows = self._clean(samples)
        for stage in self._stages:
            rows = stage.push(rows)
        return self._marked(rows)

    def flush(self) -> Float[np.ndarray, "bins features"]:
        """End the stream and return the bins (bins, features) that waited for later samples."""
        rows = self._stages[0].flush()
        for stage in self._stages[1:]:
            rows = np.concatenate([stage.push(rows), stage.flush()])
        return self._marked(rows)

    def set_bad_channels(self, channel_ids: Sequence[str]) -> None:
        """Leave these channels out from now on: of the reference, and as features, which become NaN.

        Channels that are not named count as good again; their filters start afresh.

        Raises:
            InputError: an unknown channel, or none left.
        """
        good = [c for c, keep in zip(self.chain.channel_ids, self._keep, strict=True) if keep]
        if unknown := [c for c in channel_ids if c not in self.chain.channel_ids]:
            raise InputError(
                f"`channel_ids`: {unknown[0]!r} is not one of the chain's channels: {', '.join(good)}. "
                "Name channels of the chain."
            )
        bad = self._bad = np.isin(good, list(channel_ids))
        if bad.all():
            raise InputError("`channel_ids` must leave at least one good channel, got all of them. Leave out fewer.")
        for stage in self._stages:
            bad = stage.set_bad(bad)
        self._bad_features, self._any_bad = bad, bool(bad.any())

    @property
    def bad_features(self) -> Bool[np.ndarray, " features"]:
        """Marks the features (features,) that are NaN because their channels are bad."""
        return self._bad_features

    def state(self) -> dict[str, np.ndarray]:
        """Return copies of everything that the stream remembers, as plain arrays."""
        own = {"bad": self._bad.copy(), "bad_features": self._bad_features.copy()}
        return own | {f"{i}.{k}": v for i, stage in enumerate(self._stages) for k, v in stage.state().items()}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continue from a `state` of a stream of the same chain."""
        self._bad, self._bad_features = state["bad"].copy(), state["bad_features"].copy()
        self._any_bad = bool(self._bad_features.any())
        for i, stage in enumerate(self._stages):
            prefix = f"{i}."
            stage.restore({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})

    def _clean(self, samples: np.ndarray) -> Rows:
        """Return float64 rows of the kept channels; NaN in all columns or in none, bad columns 0."""
        rows = np.asarray(samples if self._all_kept else samples[:, self._keep], np.float64)
        if self._bad.any():
            rows = np.where(self._bad, 0.0, rows)
        finite = np.isfinite(rows)
        if not finite.all():
            rows = np.where(finite.all(axis=1, keepdims=True), rows, np.nan)
        return rows

    def _marked(self, rows: Rows) -> Rows:
        return np.where(self._bad_features, np.nan, rows) if self._any_bad else rows


def _run(chain: FittedChain, lfp: np.ndarray) -> np.ndarray:
    """Run a whole array piece by piece; return the grid's bins, or samples where the chain has no bins yet."""
    stream = chain.stream()
    parts = [stream.push(lfp[i : i + _PIECE_SAMPLES]) for i in range(0, len(lfp), _PIECE_SAMPLES)]
    rows = np.concatenate([*parts, stream.flush()])
    if not chain.output.on_bins:
        return rows
    missing = np.full((max(chain.clock.n_bins - len(rows), 0), rows.shape[1]), np.nan)
    return np.concatenate([rows[: chain.clock.n_bins], missing])


def _input_rows(chain: FittedChain, lfp: np.ndarray) -> Callable[[], np.ndarray]:
    if any(not isinstance(step, Nothing) for step in chain.steps):
        return lambda: _run(chain, lfp)
    good = [i for i, c in enumerate(chain.channel_ids) if c not in chain.bad_channels]
    return lambda: lfp if len(good) == lfp.shape[1] else lfp[:, good]


def _steps_for(config: ChainConfig, clock: Clock) -> tuple[list[StepConfig], tuple[FittedStep, ...]]:
    """Return the steps that this signal needs; a signal with one sample a bin was filtered before it came here."""
    if not clock.on_grid:
        return list(config.steps), ()
    wanted: list[StepConfig] = [
        step
        for step in config.steps
        if isinstance(step, BinsConfig | LogConfig | ZScoreConfig)
        or (isinstance(step, ReferenceConfig) and step.on_grid)
    ]
    if len(wanted) == len(config.steps):
        return wanted, ()
    names = ", ".join(step.step for step in config.steps if step not in wanted)
    return wanted, (Nothing(label=f"left out, the signal comes once a bin ({clock.bin_rate_hz:g} Hz): {names}"),)


def _checked_ids(lfp: np.ndarray, channel_ids: Sequence[str], bad_channels: Sequence[str]) -> tuple[str, ...]:
    ids = tuple(str(c) for c in channel_ids)
    if lfp.ndim != 2 or len(ids) != lfp.shape[1] or len(set(ids)) != len(ids):
        raise InputError(
            f"`channel_ids` must be different names, one a column of `lfp` {lfp.shape}, got {len(ids)}. "
            "Give one name a column."
        )
    if unknown := [c for c in bad_channels if c not in ids]:
        raise InputError(
            f"`bad_channels`: {unknown[0]!r} is not one of the channels: {', '.join(ids)}. "
            "Name channels of the recording."
        )
    if len(set(bad_channels)) == len(ids):
        raise InputError(
            "`bad_channels` must leave at least one good channel, got all of them. Leave one out of the list."
        )
    return ids


def _check_overlap(clock: Clock, n_samples: int) -> None:
    first_s, last_s = clock.start_s, clock.start_s + n_samples / clock.rate_hz
    grid_end_s = clock.grid_start_s + clock.n_bins * clock.bin_width_ms / 1000
    if n_samples == 0 or first_s >= grid_end_s or last_s <= clock.grid_start_s:
        raise InputError(
            f"`lfp` lies from {first_s:.3f} to {last_s:.3f} s, outside the bin grid from {clock.grid_start_s:.3f} to "
            f"{grid_end_s:.3f} s. Check `start_s`, `rate_hz` and the grid."
        )


def _values(step: FittedStep, *, arrays: bool) -> dict[str, Any]:
    values = {f.name: getattr(step, f.name) for f in fields(step)}  # type: ignore[arg-type]
    return {name: value for name, value in values.items() if isinstance(value, np.ndarray) == arrays}


def _rebuilt(index: int, entry: dict[str, Any], arrays: dict[str, np.ndarray]) -> FittedStep:
    prefix = f"steps.{index}."
    own = {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
    values = {name: _tuples(value) for name, value in entry.items() if name != "kind"}
    return _FITTED[entry["kind"]](**values, **own)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value

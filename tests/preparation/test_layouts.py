"""Every layout from its files to binned features, against what was planted: phase, amplitude, gaps, spikes, velocity.

Channels 0 and 2 hold tones from 1 to 40 Hz whose phase runs on through gaps, channel 1 a tone that no bin can hold.
"""

import gc
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "recordings"))
from writers import axona, blackrock, brainset, brainvision, flint, indy, nwb2, trialdata

from spikefield.errors import DroppedDataWarning
from spikefield.preparation.commands import prepare
from spikefield.recordings import session as layout
from spikefield.signals.chain import FittedChain, fit_chain
from spikefield.signals.chain_config import ChainConfig, preset
from spikefield.signals.reference import ReferenceConfig
from spikefield.signals.scaling import ZScoreConfig

UNSCALED = ChainConfig(
    steps=tuple(s for s in preset("paper").steps if not isinstance(s, ReferenceConfig | ZScoreConfig))
)
TONES_HZ = np.array([1.3, 4.1, 9.7, 17.3, 26.9, 39.1])
BIN_MS = 10.0
PHASES = np.array([[0.3, 1.1, 2.3, 0.2, 1.7, 2.9], [2.0, 0.4, 1.3, 2.2, 0.9, 0.1]])
AMPLITUDE = 0.15


def tones(times_s: np.ndarray, which: int) -> np.ndarray:
    angle = 2 * np.pi * TONES_HZ * times_s[:, None] + PHASES[which]
    return AMPLITUDE * np.sin(angle).sum(axis=1)


def planted(out_of_band_hz: float) -> Callable[[np.ndarray], np.ndarray]:
    def signal(times_s: np.ndarray) -> np.ndarray:
        fast = np.sin(2 * np.pi * out_of_band_hz * times_s)
        return np.column_stack([tones(times_s, 0), fast, tones(times_s, 1)])

    return signal


@dataclass
class Planted:
    """What a file holds: size of 1 as stored, stretches without a gap, spikes by unit, hand velocity."""

    path: Path
    one: float | np.ndarray
    stretches_s: list[tuple[float, float]]
    spikes: dict[str, np.ndarray] = field(default_factory=dict)
    velocity: np.ndarray | None = None
    tolerance_s: float = 0.0


def make_indy(folder: Path, gap_s: float = 0.5) -> Planted:
    mat = indy.write_mat(folder / "indy_20160622_01.mat", seconds=26.0, channels=3)
    samples = round(13 * indy.RATE_HZ)
    wide = indy.write_nwb(
        folder / "indy_20160622_01.nwb",
        seconds=26.0,
        names=("M1 001", "M1 002", "M1 003"),
        gap=(samples, gap_s),
        planted=planted(1987.0),
    )
    period_s = 1 / indy.RATE_HZ
    stretches = [
        (mat.times_s[0], wide.times_s[samples - 1] + period_s),
        (wide.times_s[samples], min(wide.times_s[-1] + period_s, mat.times_s[-1] + 0.004)),
    ]
    one = indy.FULL_SCALE * indy.CONVERSION_V
    return Planted(folder / "indy_20160622_01.mat", one, stretches, mat.spikes, mat.velocity, tolerance_s=2e-3)


def make_flint(folder: Path) -> Planted:
    def entry(times_s: np.ndarray, number: int) -> np.ndarray:
        return planted(987.0)(times_s)[:, {1: 0, 2: 1, 4: 2}[number]]

    path = folder / "Flint_2012_e1.mat"
    (truth,) = flint.write(path, bins=(1400, 900, 1300), gaps_s=(0.0, 0.73), field_potential=entry)
    starts, ends = truth.starts_s, truth.ends_s
    stretches = [(starts[0], ends[1]), (starts[2], ends[2])]
    spikes = {f"neuron{k + 1:03d}": times for k, times in truth.spikes.items()}
    return Planted(path, 1.0, stretches, spikes, truth.velocity, tolerance_s=4 / flint.LFP_RATE_HZ)


def make_nwb(folder: Path) -> Planted:
    path = folder / "sub-C.nwb"
    truth = nwb2.write(path, seconds=26.0, raw=False, gap=(13_000, 0.8), planted=planted(387.0))
    stretches = [(0.25, 13.25), (14.05, 27.05)]
    spikes = {f"unit{i:03d}": times for i, times in enumerate(truth.spikes)}
    return Planted(path, nwb2.FULL_SCALE * nwb2.CONVERSION_V, stretches, spikes, truth.velocity, tolerance_s=1e-3)


def make_brainvision(folder: Path) -> Planted:
    path, _ = brainvision.write(folder, samples=24_000, planted=planted(387.0))
    return Planted(path, brainvision.FULL_SCALE * brainvision.RESOLUTION_UV * 1e-6, [(0.0, 24.0)])


def make_blackrock(folder: Path) -> Planted:
    path = folder / "rat7.ns2"
    blackrock.write(path, lengths=(13_000, 13_000), planted=planted(387.0))
    return Planted(path, blackrock.FULL_SCALE * blackrock.UV_PER_COUNT * 1e-6, [(0.0, 13.0), (13.7, 26.7)])


def make_axona(folder: Path) -> Planted:
    path, truth = axona.write(folder, seconds=24, planted=lambda t: planted(113.0)(t)[:, :2])
    spikes = {f"t5c{c:02d}": truth.spikes_s[truth.clusters == c] for c in (1, 2, 3)}
    return Planted(path, axona.FULL_SCALE * axona.VOLTS_PER_COUNT, [(0.0, 24.0)], spikes)


def make_npz(folder: Path) -> Planted:
    path, times = folder / "own.npz", 100.0 + np.arange(24_000) / 1000
    np.savez(path, lfp=planted(387.0)(times), lfp_rate_hz=1000.0, lfp_start_s=100.0)
    return Planted(path, 1.0, [(100.0, 124.0)])


MAKERS = {
    "indy": make_indy,
    "flint": make_flint,
    "nwb": make_nwb,
    "brainvision": make_brainvision,
    "blackrock": make_blackrock,
    "axona": make_axona,
    "npz": make_npz,
}


@pytest.fixture(scope="module", params=MAKERS)
def case(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    truth = MAKERS[request.param](folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DroppedDataWarning)
        warnings.simplefilter("ignore", ResourceWarning)  # neo leaves its files to the garbage collector
        prepare([truth.path], out=folder / "out")
        gc.collect()
    (path,) = (folder / "out").glob("*.h5")
    return truth, layout.load(path)


def chain_of(session) -> FittedChain:
    starts, ends = layout.valid_intervals_s(session)
    n_bins = round((ends[-1] - starts[0]) * 1000 / BIN_MS - 0.5)
    return fit_chain(
        UNSCALED,
        np.asarray(session.lfp.signal),
        rate_hz=float(session.lfp.sampling_rate),
        start_s=float(session.lfp.domain.start[0]),
        channel_ids=[str(c) for c in session.channels.id],
        bin_width_ms=BIN_MS,
        grid_start_s=float(starts[0]),
        n_bins=n_bins,
        within=np.ones(n_bins, bool),
    )


def middle_of(stretch_s: tuple[float, float], times_s: np.ndarray) -> np.ndarray:
    """Mark the bins far from both ends, where the slow filters have settled."""
    start, end = stretch_s
    return (times_s > start + 0.3 * (end - start)) & (times_s < start + 0.6 * (end - start))


def design(times_s: np.ndarray) -> np.ndarray:
    """Tones, and the slow drift that a high-pass of 0.05 Hz leaves after a start."""
    waves = np.exp(2j * np.pi * TONES_HZ * times_s[:, None])
    slow = np.polynomial.legendre.legvander(np.linspace(-1, 1, len(times_s)), 5)
    return np.hstack([waves.imag, waves.real, slow])


def test_phase_amplitude_and_aliases(case):
    truth, session = case
    chain = chain_of(session)
    bins = chain.apply(np.asarray(session.lfp.signal)).astype(float) / truth.one
    times_s = chain.clock.grid_start_s + (np.arange(len(bins)) + 0.5) * BIN_MS / 1000
    stated = np.abs(chain.response(TONES_HZ)) * AMPLITUDE
    for stretch in truth.stretches_s:
        middle = middle_of(stretch, times_s)
        assert middle.sum() > 300 and np.isfinite(bins[middle]).all()
        basis = design(times_s[middle])
        weights = np.linalg.lstsq(basis, bins[middle], rcond=None)[0]
        for column, phases in zip(range(0, bins.shape[1], 2), PHASES, strict=False):
            found = weights[:6, column] + 1j * weights[6:12, column]
            assert np.abs(np.degrees(np.angle(found * np.exp(-1j * phases)))).max() < 2.0
            np.testing.assert_allclose(np.abs(found), stated, rtol=0.03)
        slow = basis[:, 12:]
        fast = bins[middle, 1] - slow @ np.linalg.lstsq(slow, bins[middle, 1], rcond=None)[0]
        assert np.abs(fast).max() < 0.01


def test_gaps_are_kept_to_a_sample(case):
    truth, session = case
    starts, ends = layout.valid_intervals_s(session)
    sample_s = truth.tolerance_s or 1e-6
    np.testing.assert_allclose(np.column_stack([starts, ends]), truth.stretches_s, atol=sample_s)


def test_every_spike_in_valid_time_is_there(case):
    truth, session = case
    if not truth.spikes:
        assert not layout.has_spikes(session)
        return
    starts, ends = layout.valid_intervals_s(session)
    inside = lambda t: np.any([(t >= a) & (t < b) for a, b in zip(starts, ends, strict=True)], axis=0)  # noqa: E731
    times, index = np.asarray(session.spikes.timestamps), np.asarray(session.spikes.unit_index)
    found = {str(name): times[index == i] for i, name in enumerate(session.units.id)}
    assert set(found) == {name for name, spikes in truth.spikes.items() if inside(spikes).any()}
    for name, spikes in found.items():
        np.testing.assert_array_equal(spikes[inside(spikes)], np.sort(truth.spikes[name][inside(truth.spikes[name])]))


def test_velocity(case):
    truth, session = case
    if truth.velocity is None:
        return
    found = np.asarray(session.behavior.values)
    residual = np.square(found - truth.velocity).sum(axis=0)
    spread = np.square(truth.velocity - truth.velocity.mean(axis=0)).sum(axis=0)
    assert (1 - residual / spread).min() > 0.999


def prepared(path, folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DroppedDataWarning)
        prepare([path], out=folder / "out")
    (found,) = (folder / "out").glob("*.h5")
    return layout.load(found)


@pytest.mark.parametrize("regular", [False, True], ids=["perich", "odoherty"])
def test_sessions_of_torch_brain_without_field(tmp_path, regular):
    truth = brainset.write(tmp_path / "c.h5", regular=regular)
    session = prepared(tmp_path / "c.h5", tmp_path)
    np.testing.assert_array_equal(session.spikes.timestamps, truth.spikes)
    np.testing.assert_array_equal(session.spikes.unit_index, truth.unit_index)
    np.testing.assert_array_equal(session.behavior.values, truth.velocity)
    np.testing.assert_allclose(layout.timestamps_s(session.behavior), truth.times_s)


def test_power_and_counts_of_trial_data(tmp_path):
    truth = trialdata.write(tmp_path / "Chewie_CO_20150313.mat", bins=(240, 225, 233))
    session = prepared(tmp_path / "Chewie_CO_20150313.mat", tmp_path)
    starts, ends = layout.valid_intervals_s(session)
    np.testing.assert_allclose(ends - starts, np.array(truth.bins) * truth.bin_s)
    for first, stop, trial in zip(np.rint(starts / truth.bin_s), np.rint(ends / truth.bin_s), range(3), strict=True):
        rows = slice(int(first), int(stop))
        np.testing.assert_array_equal(session.spike_counts.counts[rows], truth.counts["M1"][trial])
        np.testing.assert_allclose(session.lfp.signal[rows], truth.power["M1"][trial], rtol=1e-6)
        np.testing.assert_array_equal(session.behavior.values[rows], truth.velocity[trial])

"""The field potential: weak slow movement signals under shared, travelling and private noise, in microvolts."""

import numpy as np
from jaxtyping import Float, Int
from numpy.random import Generator
from scipy import signal
from scipy.spatial.distance import cdist

from spikefield.recordings.simulator.array import Array, Loadings
from spikefield.recordings.simulator.config import SimulatorConfig
from spikefield.recordings.simulator.noise import coloured_noise
from spikefield.recordings.simulator.spikes import Units


def record_field(
    config: SimulatorConfig,
    *,
    state: Float[np.ndarray, "time state"],
    speed_cm_s: Float[np.ndarray, " time"],
    spike_times_s: Float[np.ndarray, " spike"],
    spike_units: Int[np.ndarray, " spike"],
    units: Units,
    array: Array,
    loadings: Loadings,
    generator: Generator,
) -> Float[np.ndarray, "sample channel"]:
    """Return the field (sample, channel) in microvolts, float32, sampled at `lfp_rate_hz` from 0 s."""
    samples = round(len(state) / config.kinematics_rate_hz * config.lfp_rate_hz)
    field = private_background(config, channels=len(array.positions_um), samples=samples, generator=generator)
    field += shared_nuisance(config, loadings, samples=samples, generator=generator)
    field += movement_potential(config, state, loadings, samples=samples)
    field += spike_potential(config, spike_times_s, spike_units, units, array, samples=samples)
    field += line_noise(config, loadings, samples=samples, generator=generator)
    add_beta_waves(config, field, speed_cm_s, array, generator=generator)
    field *= np.exp(config.gain_spread * loadings.gain).astype(np.float32)[:, None]
    return np.ascontiguousarray(field.T)


def private_background(
    config: SimulatorConfig, *, channels: int, samples: int, generator: Generator
) -> Float[np.ndarray, "channel sample"]:
    """Return what each channel has to itself, (channel, sample) in microvolts."""
    return np.float32(config.background_uv) * _field_noise(config, channels, samples, generator)


def shared_nuisance(
    config: SimulatorConfig, loadings: Loadings, *, samples: int, generator: Generator
) -> Float[np.ndarray, "channel sample"]:
    """Return the few broad sources that know nothing of the movement, (channel, sample) in microvolts."""
    sources = _field_noise(config, config.nuisance_sources, samples, generator)
    return _mix(loadings.nuisance * config.nuisance_uv / np.sqrt(config.nuisance_sources), sources)


def movement_potential(
    config: SimulatorConfig, state: Float[np.ndarray, "time state"], loadings: Loadings, *, samples: int
) -> Float[np.ndarray, "channel sample"]:
    """Return the slow part that is linear in the state, low-passed causally, (channel, sample) in microvolts."""
    sections = signal.butter(2, config.field_lowpass_hz, fs=config.kinematics_rate_hz, output="sos")
    rest = signal.sosfilt_zi(sections)[:, :, None] * state[:1]
    slow, _ = signal.sosfilt(sections, state, axis=0, zi=rest)
    return _mix(loadings.state * config.movement_uv / np.sqrt(config.n_state), _upsample(config, slow, samples))


def spike_potential(
    config: SimulatorConfig,
    spike_times_s: Float[np.ndarray, " spike"],
    spike_units: Int[np.ndarray, " spike"],
    units: Units,
    array: Array,
    *,
    samples: int,
) -> Float[np.ndarray, "channel sample"]:
    """Return the slow negative potential (channel, sample), in µV, that spikes leave on electrodes near their unit."""
    distance_um = cdist(array.positions_um[units.electrode], array.positions_um)
    weights = -config.spike_uv * np.exp(-distance_um / config.spike_length_um)
    sample = np.minimum((spike_times_s * config.lfp_rate_hz).astype(np.int64), samples - 1)
    trains = np.zeros((len(units.electrode), samples), np.float32)
    np.add.at(trains, (spike_units, sample), 1.0)
    slow = signal.oaconvolve(trains, _spike_kernel(config)[None], axes=1)[:, :samples]
    return _mix(weights, slow)


def _spike_kernel(config: SimulatorConfig) -> Float[np.ndarray, " sample"]:
    """Return the time course of a spike's slow potential: quick rise, slow decay, peak of one."""
    time_s = np.arange(round(8 * config.spike_decay_s * config.lfp_rate_hz)) / config.lfp_rate_hz
    kernel = np.exp(-time_s / config.spike_decay_s) - np.exp(-time_s / config.spike_rise_s)
    return (kernel / kernel.max()).astype(np.float32)


def line_noise(
    config: SimulatorConfig, loadings: Loadings, *, samples: int, generator: Generator
) -> Float[np.ndarray, "channel sample"]:
    """Return mains hum and its second harmonic (channel, sample), in µV, stronger on some channels than on others."""
    phase = 2 * np.pi * config.line_hz * np.arange(samples) / config.lfp_rate_hz
    first, second = generator.uniform(0, 2 * np.pi, 2)
    waves = np.stack([np.sin(phase + first), np.sin(2 * phase + second)]).astype(np.float32)
    size = np.array([[config.line_uv], [config.harmonic_uv]])
    return _mix(size * (1 + 0.3 * loadings.line), waves)


def add_beta_waves(
    config: SimulatorConfig,
    field: Float[np.ndarray, "channel sample"],
    speed_cm_s: Float[np.ndarray, " time"],
    array: Array,
    *,
    generator: Generator,
) -> None:
    """Add to `field` (channel, sample), in µV, bursts of waves that cross the array and shrink while the hand moves."""
    samples = field.shape[1]
    moving = np.clip(speed_cm_s / config.beta_speed_cm_s, 0.0, 1.0)
    size_uv = config.beta_uv * (1 - config.beta_suppression * _upsample(config, moving[:, None], samples)[0])
    count = generator.poisson(config.beta_per_s * samples / config.lfp_rate_hz)
    for centre_s in generator.uniform(0, samples / config.lfp_rate_hz, count):
        width_s = generator.uniform(*config.beta_s) / 4
        first, last = np.clip(
            np.array([centre_s - 3 * width_s, centre_s + 3 * width_s]) * config.lfp_rate_hz, 0, samples
        )
        part = slice(int(first), int(last))
        time_s = np.arange(part.start, part.stop) / config.lfp_rate_hz - centre_s
        cycle = 2 * np.pi * generator.uniform(*config.beta_hz)
        delay_s = _wave_delay_s(config, array, generator)
        phase = cycle * time_s + generator.uniform(0, 2 * np.pi)
        envelope = size_uv[part] * np.exp(-0.5 * (time_s / width_s) ** 2) * generator.rayleigh(0.8)
        field[:, part] += np.cos(cycle * delay_s)[:, None] * (envelope * np.cos(phase))
        field[:, part] += np.sin(cycle * delay_s)[:, None] * (envelope * np.sin(phase))


def _wave_delay_s(config: SimulatorConfig, array: Array, generator: Generator) -> Float[np.ndarray, " channel"]:
    """Return when a plane wave passes each electrode; it runs one way or the other along the subject's axis."""
    angle = array.wave_axis_rad + np.pi * generator.integers(2) + config.wave_spread_rad * generator.standard_normal()
    along_um = array.positions_um @ np.array([np.cos(angle), np.sin(angle)])
    return along_um / (generator.uniform(*config.wave_cm_s) * 1e4)


def _field_noise(
    config: SimulatorConfig, rows: int, samples: int, generator: Generator
) -> Float[np.ndarray, "row sample"]:
    return coloured_noise(
        generator,
        rows=rows,
        samples=samples,
        rate_hz=config.lfp_rate_hz,
        exponent=config.field_exponent,
        knee_hz=config.field_knee_hz,
    )


def _mix(
    loadings: Float[np.ndarray, "source channel"], sources: Float[np.ndarray, "source sample"]
) -> Float[np.ndarray, "channel sample"]:
    return loadings.T.astype(np.float32) @ sources


def _upsample(
    config: SimulatorConfig, series: Float[np.ndarray, "time dim"], samples: int
) -> Float[np.ndarray, "dim sample"]:
    """Bring a series from the kinematic grid to the field's samples by straight lines between points."""
    from_s = np.arange(len(series)) / config.kinematics_rate_hz
    to_s = np.arange(samples) / config.lfp_rate_hz
    return np.stack([np.interp(to_s, from_s, column) for column in series.T]).astype(np.float32)

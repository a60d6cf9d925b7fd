"""Print how well linear decoders read hand velocity from the simulator's default corpus: its calibration table.

Run: python benchmarks/simulator.py [SEED] (some minutes; most of it goes into the one-hour column). Columns, all R²
on the last 30 % of a session, mean over vx and vy, 20 ms bins, no network anywhere:

    ceiling        ridge on the true state
    ridge-spikes   ridge on spike counts, lags ±10 bins, fitted on the first 70 %
    ridge-lfp      the same on the field, averaged to bins, common average removed
    one-hour       ridge-lfp fitted on twelve further takes of the session instead, one hour
    knows-lfp      best linear decoder that is told the loadings and spectra instead of fitting (Wiener filter over
                   all lags, both ways; spike potentials, beta and mains are left out of what it knows)
    first-lfp      ridge-lfp of the first session, used on this one
"""

import sys

import numpy as np
from scipy import fft, signal

from spikefield.recordings.simulator import SimulatedSession, SimulatorConfig, ceiling_r2, simulate_session
from spikefield.recordings.simulator.ceiling import LinearMap, Stretch, block_mean, fit_lagged_ridge, r2_by_dim, split

BIN_S = 0.02
LAG_BINS = 10
EXTRA_TAKES = 12
BAND_HZ = 12.0
SPECTRUM_WINDOW_S = 10.0
GRID_HZ = 100.0


def main(seed: int) -> None:
    """Print one row a session, then the mean."""
    config = SimulatorConfig()
    spectra = driver_spectra(config, seed)
    columns = ["ceiling", "ridge-spikes", "ridge-lfp", "one-hour", "knows-lfp", "first-lfp"]
    print(f"seed {seed}\n{'session':<10}" + "".join(f"{name:>14}" for name in columns))
    rows, first = [], None
    for index in range(config.n_sessions):
        session = simulate_session(config, index=index, seed=seed)
        train, test = split(lfp_bins(session), gap=2 * LAG_BINS)
        fit = fit_lagged_ridge(train, lag_bins=LAG_BINS)
        first = first or fit
        spike_train, spike_test = split(spike_bins(session), gap=2 * LAG_BINS)
        row = [
            ceiling_r2(session),
            score(fit_lagged_ridge(spike_train, lag_bins=LAG_BINS), spike_test),
            score(fit, test),
            score(one_hour(config, index, seed), test),
            knowing_r2(config, session, *spectra),
            score(first, test),
        ]
        rows.append(row)
        print(f"{session.session:<10}" + "".join(f"{value:14.3f}" for value in row), flush=True)
    print(f"{'mean':<10}" + "".join(f"{value:14.3f}" for value in np.mean(rows, axis=0)))


def score(fit: LinearMap, test: Stretch) -> float:
    """Return R², mean over dims."""
    return float(r2_by_dim(fit, test, lag_bins=LAG_BINS).mean())


def velocity_bins(session: SimulatedSession) -> np.ndarray:
    """Return hand velocity averaged to bins."""
    return block_mean(session.arrays["behavior"], round(BIN_S * session.arrays["behavior_rate_hz"]))


def lfp_bins(session: SimulatedSession) -> Stretch:
    """Return the field averaged to bins, common average removed, and velocity."""
    field = block_mean(session.arrays["lfp"], round(BIN_S * session.arrays["lfp_rate_hz"]))
    return Stretch(field - field.mean(axis=1, keepdims=True), velocity_bins(session))


def spike_bins(session: SimulatedSession) -> Stretch:
    """Return spike counts and velocity."""
    velocity = velocity_bins(session)
    edges = [np.arange(len(velocity) + 1) * BIN_S, np.arange(len(session.units.lag_s) + 1) - 0.5]
    return Stretch(np.histogram2d(session.arrays["spike_times"], session.arrays["spike_units"], edges)[0], velocity)


def one_hour(config: SimulatorConfig, index: int, seed: int) -> LinearMap:
    """Fit ridge on the field of further takes of a session."""
    takes = range(1, EXTRA_TAKES + 1)
    hour = [lfp_bins(simulate_session(config, index=index, seed=seed, take=take)) for take in takes]
    return fit_lagged_ridge(hour, lag_bins=LAG_BINS)


def driver_spectra(config: SimulatorConfig, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return frequencies and the joint cross-spectrum E[z zᴴ] of velocity (2) and state, from twelve takes."""
    total = 0.0
    for take in range(1, EXTRA_TAKES + 1):
        session = simulate_session(config, index=0, seed=seed, take=take)
        joint = np.hstack([session.arrays["behavior"], session.state]).T
        frequency_hz, spectrum = signal.csd(
            joint[None], joint[:, None], fs=GRID_HZ, nperseg=round(SPECTRUM_WINDOW_S * GRID_HZ), axis=-1
        )
        total = total + np.moveaxis(spectrum, -1, 0) / EXTRA_TAKES
    return frequency_hz, total


def knowing_r2(
    config: SimulatorConfig, session: SimulatedSession, frequency_hz: np.ndarray, joint: np.ndarray
) -> float:
    """Apply the Wiener filter made from the session's true loadings and return R² on its last 30 %."""
    kept = frequency_hz <= BAND_HZ
    weights = wiener_weights(config, session, frequency_hz[kept], joint[kept])
    field = block_mean(session.arrays["lfp"], round(config.lfp_rate_hz / GRID_HZ))
    field -= field.mean(axis=0)
    spectrum = fft.rfft(field, axis=0)
    fine_hz = fft.rfftfreq(len(field), 1 / GRID_HZ)
    decoded = np.zeros((len(fine_hz), 2), complex)
    inside = fine_hz <= BAND_HZ
    for dim, channel in np.ndindex(weights.shape[1:]):
        weight = np.interp(fine_hz[inside], frequency_hz[kept], weights[:, dim, channel])
        decoded[inside, dim] += weight * spectrum[inside, channel]
    series = Stretch(fft.irfft(decoded, n=len(field), axis=0), session.arrays["behavior"])
    test = split(Stretch(block_mean(series.features, 2), block_mean(series.target, 2)), gap=2 * LAG_BINS)[1]
    spread = np.sum((test.target - test.target.mean(axis=0)) ** 2, axis=0)
    return float(np.mean(1 - np.sum((test.target - test.features) ** 2, axis=0) / spread))


def wiener_weights(
    config: SimulatorConfig, session: SimulatedSession, frequency_hz: np.ndarray, joint: np.ndarray
) -> np.ndarray:
    """Return S_vy S_yy⁻¹ at each frequency, (frequency, 2, channel); spike potential, beta and line left out."""
    gain = np.exp(config.gain_spread * session.loadings.gain)
    state = (session.loadings.state * gain).T * config.movement_uv / np.sqrt(config.n_state)
    shared = (session.loadings.nuisance * gain).T * config.nuisance_uv / np.sqrt(config.nuisance_sources)
    noise_covariance = shared @ shared.T + np.diag((config.background_uv * gain) ** 2)
    noise = noise_density(config, frequency_hz)
    sections = signal.butter(2, config.field_lowpass_hz, fs=GRID_HZ, output="sos")
    lowpass = signal.sosfreqz(sections, worN=frequency_hz, fs=GRID_HZ)[1]
    weights = []
    for spectrum, slow, level in zip(joint, lowpass, noise, strict=True):
        s_yy = state @ (spectrum[2:, 2:] * abs(slow) ** 2) @ state.T + level * noise_covariance
        s_vy = spectrum[:2, 2:] @ state.T * slow.conj()
        weights.append(np.linalg.solve(s_yy.T, s_vy.T).T)
    return np.array(weights)


def noise_density(config: SimulatorConfig, frequency_hz: np.ndarray) -> np.ndarray:
    """Return the spectral density of the field's noise at unit variance, one-sided, per Hz."""

    def shape(at_hz: np.ndarray) -> np.ndarray:
        return 1 / (1 + (at_hz / config.field_knee_hz) ** config.field_exponent)

    all_hz = np.linspace(0, config.lfp_rate_hz / 2, 250_001)
    return shape(frequency_hz) / np.trapezoid(shape(all_hz), all_hz)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 0)

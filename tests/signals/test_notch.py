"""Mains are found where they are, and only there."""

from pathlib import Path

import numpy as np
import pytest

from spikefield.signals.notch import NotchConfig, detect_mains_hz
from spikefield.signals.steps import Clock, Nothing, Signal, Training


def noise(rate_hz, seconds=40.0, seed=0, channels=4):
    rng = np.random.default_rng(seed)
    white = rng.normal(size=(round(seconds * rate_hz), channels))
    spectrum = np.fft.rfft(white, axis=0) / np.maximum(np.fft.rfftfreq(len(white), 1 / rate_hz), 0.5)[:, None]
    field = np.fft.irfft(spectrum, len(white), axis=0)
    return field / field.std(axis=0)


@pytest.mark.parametrize("rate_hz", [250.0, 1000.0, 1017.26])
@pytest.mark.parametrize("mains_hz", [50.0, 60.0])
def test_finds_weak_mains_in_one_channel(rate_hz, mains_hz):
    x = noise(rate_hz)
    x[:, 2] += 0.05 * np.sin(2 * np.pi * (mains_hz + 0.05) * np.arange(len(x)) / rate_hz)
    assert detect_mains_hz(x, rate_hz) == mains_hz


@pytest.mark.parametrize("seconds", [9.0, 40.0])
@pytest.mark.parametrize("seed", range(5))
def test_finds_none_where_there_are_none(seed, seconds):
    assert detect_mains_hz(noise(500.0, seconds, seed=seed, channels=32), 500.0) is None


def test_a_broad_rhythm_is_not_mains():
    rng = np.random.default_rng(0)
    x = noise(500.0)
    band = np.fft.rfft(rng.normal(size=x.shape), axis=0)
    f = np.fft.rfftfreq(len(x), 1 / 500.0)[:, None]
    x = x + 30 * np.fft.irfft(band * np.exp(-(((f - 58) / 6) ** 2)), len(x), axis=0)
    assert detect_mains_hz(x, 500.0) is None


def test_too_slow_or_too_short_signals_have_no_mains():
    assert detect_mains_hz(noise(90.0), 90.0) is None
    assert detect_mains_hz(noise(500.0, 2.0), 500.0) is None


def fitted(x, rate_hz, within):
    clock = Clock(rate_hz=rate_hz, start_s=0.0, bin_width_ms=10.0, grid_start_s=0.0, n_bins=len(within))
    signal = Signal(rate_hz=rate_hz, columns=tuple(map(str, range(x.shape[1]))))
    return NotchConfig().fit(signal, Training(rows=lambda: x, within=within, clock=clock))


def test_only_confirmed_harmonics_are_taken_out_and_only_training_time_is_looked_at():
    rate_hz = 1000.0
    x, t = noise(rate_hz), np.arange(40_000) / rate_hz
    x += 0.1 * (np.sin(2 * np.pi * 50 * t) + np.sin(2 * np.pi * 150 * t))[:, None]
    x[30_000:] += np.sin(2 * np.pi * 100 * t[30_000:])[:, None]
    x[5000:5100] = np.nan
    step = fitted(x, rate_hz, np.arange(4000) < 2900)
    assert step.describe() == "causal notch at 50, 150 Hz"
    response = np.abs(
        step.response(
            np.array([45.0, 50.0, 55.0, 100.0, 150.0]), Signal(rate_hz, ("a",)), Clock(rate_hz, 0.0, 10.0, 0.0, 1)
        )
    )
    np.testing.assert_allclose(response, [0.98, 0, 0.98, 0.99, 0], atol=0.02)


def test_clean_signals_get_no_notch():
    step = fitted(noise(500.0), 500.0, np.ones(4000, bool))
    assert isinstance(step, Nothing) and "no mains found" in step.describe()


AXONA = Path(__file__).parents[3] / "shared/data/axona_r1838"


@pytest.mark.skipif(not AXONA.is_dir(), reason="the real rat recording ../shared/data/axona_r1838 is not here")
@pytest.mark.parametrize(("name", "mains_hz"), [("eeg2", 50.0), ("eeg3", None)])
def test_mains_of_a_real_recording(name, mains_hz):
    content = (AXONA / f"83812141.{name}").read_bytes()
    first = content.index(b"data_start") + len(b"data_start")
    field = np.frombuffer(content[first : content.rindex(b"data_end") - 2], np.int8).astype(np.float32)
    assert detect_mains_hz(field[:, None], 250.0) == mains_hz

"""The chain: one result however the samples come, nothing from the future, gaps kept, the stated response."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikefield.errors import InputError
from spikefield.signals.band_pass import AntiAliasConfig, BandPassConfig
from spikefield.signals.band_power import BandPowerConfig
from spikefield.signals.chain import FittedChain, fit_chain
from spikefield.signals.chain_config import PRESETS, ChainConfig, preset
from spikefield.signals.decimate import DecimateConfig
from spikefield.signals.notch import NotchConfig
from spikefield.signals.reference import ReferenceConfig
from spikefield.signals.resample import BinsConfig
from spikefield.signals.scaling import LogConfig, ZScoreConfig

CHANNELS = 9


def lfp(seconds=8.0, rate_hz=500.0, seed=0, channels=CHANNELS):
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    slow = np.cumsum(rng.normal(size=(len(t), channels)), axis=0) * 0.05
    return rng.normal(size=(len(t), channels)) + slow + 2 * np.sin(2 * np.pi * 60 * t)[:, None]


def fit(config, x, *, rate_hz=500.0, start_s=0.0, width_ms=10.0, grid_start_s=0.0, bad=(), n_bins=None):
    n_bins = n_bins or int((start_s - grid_start_s + len(x) / rate_hz) * 1000 / width_ms + 1e-6)
    return fit_chain(
        config,
        x,
        rate_hz=rate_hz,
        start_s=start_s,
        channel_ids=[f"ch{i}" for i in range(x.shape[1])],
        bin_width_ms=width_ms,
        grid_start_s=grid_start_s,
        n_bins=n_bins,
        within=np.arange(n_bins) < n_bins * 3 // 4,
        bad_channels=bad,
    )


def with_gaps(x):
    x = x.copy()
    x[900:950] = np.nan
    x[1703, 2] = np.nan
    return x


def in_pieces(chain, x, pieces):
    stream, out, first = chain.stream(), [], 0
    for size in [*pieces, len(x)]:
        out.append(stream.push(x[first : first + size]))
        first += size
    return np.concatenate([*out, stream.flush()])


ALL = ChainConfig(
    steps=(
        NotchConfig(mains_hz=60.0),
        DecimateConfig(to_hz=250.0, form="zero_phase"),
        ReferenceConfig(kind="median"),
        BandPowerConfig(bands_hz=((0.0, 0.0), (8.0, 30.0)), form="zero_phase"),
        BinsConfig(),
        ZScoreConfig(robust=True),
    )
)
DECIMATED = ChainConfig(
    steps=(DecimateConfig(to_hz=170.0), ReferenceConfig(kind="bipolar"), BinsConfig(method="center"))
)


@settings(max_examples=6, deadline=None)
@given(pieces=st.lists(st.integers(0, 700), max_size=12), start_s=st.sampled_from([0.0, -0.123, 0.0517]))
@pytest.mark.parametrize("config", [*PRESETS.values(), ALL, DECIMATED], ids=[*PRESETS, "all", "decimated"])
def test_whole_equals_chunks(config, pieces, start_s):
    x = with_gaps(lfp(5.0))
    chain = fit(config, x, start_s=start_s)
    whole = chain.apply(x)
    chunks = in_pieces(chain, x, pieces)[: len(whole)]
    assert len(chunks) >= len(whole) - 1
    np.testing.assert_allclose(chunks, whole[: len(chunks)], rtol=1e-6, atol=1e-6)
    assert np.isfinite(whole).mean() > 0.9


@pytest.mark.parametrize("config", [*PRESETS.values(), ALL], ids=[*PRESETS, "all"])
def test_whole_equals_sample_by_sample(config):
    x = with_gaps(lfp(3.6))
    chain = fit(config, x)
    whole = chain.apply(x)
    single = in_pieces(chain, x, [1] * 60 + [800] + [1] * 150 + [650] + [1] * 140)
    np.testing.assert_allclose(single, whole[: len(single)], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["bins", "realtime", "band_power"])
def test_the_future_never_changes_the_past_of_a_causal_chain(name):
    x = lfp()
    chain = fit(name, x)
    assert chain.is_causal
    for sample in (1001, 2500, 3999):
        changed = x.copy()
        changed[sample:, 3] += 100
        before_bin = sample * 2 // 10
        np.testing.assert_array_equal(chain.apply(changed)[:before_bin], chain.apply(x)[:before_bin])
        assert not np.allclose(chain.apply(changed)[before_bin], chain.apply(x)[before_bin])


def test_a_zero_phase_chain_says_that_it_looks_ahead():
    chain = fit("paper", lfp())
    assert not chain.is_causal and "not causal" in chain.describe()


def test_a_bin_leaves_a_causal_stream_with_its_last_sample():
    x = lfp()
    stream = fit("realtime", x).stream()
    counts = [len(stream.push(x[i : i + 1])) for i in range(50)]
    assert counts == [0, 0, 0, 0, 1] * 10


def test_statistics_come_from_training_bins_only():
    x = lfp()
    changed = x.copy()
    changed[3100:] *= 50
    a, b = fit("bins", x), fit("bins", changed)
    for name, value in a.arrays().items():
        np.testing.assert_array_equal(value, b.arrays()[name])
    z = a.apply(x)[:600]
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(z.std(axis=0), 1, atol=1e-5)


UNSCALED_PAPER = ChainConfig(
    steps=tuple(s for s in preset("paper").steps if not isinstance(s, ReferenceConfig | ZScoreConfig))
)
UNSCALED_REALTIME = ChainConfig(
    steps=tuple(s for s in preset("realtime").steps if not isinstance(s, ReferenceConfig | ZScoreConfig))
)


def tone(f, seconds, rate_hz):
    return np.sin(2 * np.pi * f * np.arange(round(seconds * rate_hz)) / rate_hz)[:, None]


def measured_response(chain, f, seconds, rate_hz, width_s=0.01):
    y = chain.apply(tone(f, seconds, rate_hz))[:, 0].astype(float)
    centres = (np.arange(len(y)) + 0.5) * width_s
    middle = (centres > seconds * 0.3) & (centres < seconds * 0.7) & np.isfinite(y)
    waves = np.exp(2j * np.pi * f * centres[middle])
    basis = np.stack([waves.real, waves.imag], axis=1)
    cosine, sine = np.linalg.lstsq(basis, y[middle], rcond=None)[0]
    return (cosine - 1j * sine) * 1j  # the tone is a sine: sin = Re(-i e^{iwt})


@pytest.mark.parametrize("rate_hz", [1000.0, 1017.2641])
@pytest.mark.parametrize("f", [1.0, 3.0, 10.0, 22.0, 31.0, 40.0])
def test_zero_phase_tones_come_out_as_stated(rate_hz, f):
    seconds = 60.0
    chain = fit(UNSCALED_PAPER, tone(f, seconds, rate_hz), rate_hz=rate_hz)
    stated, measured = chain.response(np.array([f]))[0], measured_response(chain, f, seconds, rate_hz)
    assert abs(np.angle(stated)) < 1e-9
    assert abs(np.degrees(np.angle(measured))) < 0.5
    assert abs(measured) / abs(stated) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("f", [2.0, 10.0, 20.0])
def test_causal_tones_come_out_as_stated(f):
    chain = fit(UNSCALED_REALTIME, tone(f, 60.0, 1000.0), rate_hz=1000.0)
    stated, measured = chain.response(np.array([f]))[0], measured_response(chain, f, 60.0, 1000.0)
    assert abs(measured / stated - 1) < 0.01


@pytest.mark.parametrize("f", [52.0, 67.0, 95.0, 130.0, 233.0, 410.0])
@pytest.mark.parametrize("config", [UNSCALED_PAPER, UNSCALED_REALTIME], ids=["paper", "realtime"])
def test_no_more_than_one_percent_of_a_tone_out_of_band_folds_back(config, f):
    chain = fit(config, tone(f, 60.0, 1000.0), rate_hz=1000.0)
    y = chain.apply(tone(f, 60.0, 1000.0))[2000:4000]
    assert np.abs(y).max() < 0.01
    assert chain.fold_back < 0.01


def test_the_causal_delay_is_as_printed_to_a_bin():
    rng = np.random.default_rng(0)
    x = np.cumsum(rng.normal(size=(30_000, 1)), axis=0)
    x = x - np.convolve(x[:, 0], np.ones(2000) / 2000, "same")[:, None]
    late, reference = fit(UNSCALED_REALTIME, x, rate_hz=1000.0), fit(UNSCALED_PAPER, x, rate_hz=1000.0)
    a, b = late.apply(x)[300:-300, 0], reference.apply(x)[300:-300, 0]
    lags = np.arange(-10, 11)
    score = [np.corrcoef(np.roll(a, -lag)[20:-20], b[20:-20])[0, 1] for lag in lags]
    assert abs(lags[int(np.argmax(score))] * 10 - late.delay_ms) <= 10
    assert f"{late.delay_ms:.1f} ms" in late.describe()
    assert late.delay_ms == pytest.approx(16, abs=3)


def test_gaps_are_kept_and_filters_restart_after_them():
    x = lfp(12.0)
    gapped = x.copy()
    gapped[2003:3017] = np.nan
    for name in ("realtime", "paper"):
        config = ChainConfig(steps=tuple(s for s in preset(name).steps if not isinstance(s, ZScoreConfig)))
        chain = fit(config, x)
        y = chain.apply(gapped)
        missing = np.isnan(y[:, 0])
        assert np.array_equal(np.isnan(y), np.repeat(missing[:, None], CHANNELS, axis=1))
        assert missing[401:603].all() and not missing[:400].any() and not missing[604:].any()
        after = chain.with_clock(rate_hz=500.0, start_s=3017 / 500, grid_start_s=0.0, n_bins=1200).apply(x[3017:])
        np.testing.assert_allclose(y[604:], after[604:], rtol=1e-5, atol=1e-5)


def test_resampling_follows_the_measured_clock():
    rate_hz, seconds = 1017.2641, 100.0
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    ramp = t[:, None]
    for method, offset in (("mean", -0.5 / rate_hz), ("center", 0.0)):
        chain = fit(ChainConfig(steps=(BinsConfig(method=method),)), ramp, rate_hz=rate_hz)
        y = chain.apply(ramp)[:, 0].astype(float)
        centres = (np.arange(len(y)) + 0.5) * 0.01
        np.testing.assert_allclose(y[1:-1] - centres[1:-1], offset, atol=3e-5)


def test_bin_means_equal_a_slow_twin_on_an_even_grid():
    x = lfp()
    y = fit(ChainConfig(steps=(BinsConfig(),)), x).apply(x)
    np.testing.assert_allclose(y, x.reshape(-1, 5, CHANNELS).mean(axis=1), rtol=1e-5, atol=1e-6)


def test_a_signal_that_starts_late_or_early_keeps_its_place():
    x = np.arange(4000.0)[:, None]
    late = fit(ChainConfig(steps=(BinsConfig(),)), x, start_s=1.0, n_bins=800).apply(x)[:, 0]
    assert np.isnan(late[:100]).all() and late[100] == pytest.approx(2.0)
    early = fit(ChainConfig(steps=(BinsConfig(),)), x, start_s=-1.0, n_bins=800).apply(x)[:, 0]
    assert early[0] == pytest.approx(502.0) and np.isnan(early[700:]).all()


@pytest.mark.parametrize("start_s", [0.0, 0.5, 0.25])
def test_a_signal_on_the_grid_passes_with_its_score_only(start_s):
    x = np.random.default_rng(0).lognormal(size=(300, 12))
    chain = fit("paper", x, rate_hz=10.0, width_ms=100.0, start_s=start_s)
    y, shift = chain.apply(x), int(start_s * 10)
    assert np.isnan(y[:shift]).all()
    train = x[: len(y) * 3 // 4 - shift]
    np.testing.assert_allclose(y[shift:], ((x - train.mean(0)) / train.std(0))[: len(y) - shift], atol=1e-4)
    assert "left out, the signal comes once a bin (10 Hz): decimate, notch, reference" in chain.describe()
    assert chain.reach_s == 0 and chain.delay_ms == pytest.approx(0, abs=1e-9) and chain.is_causal


def test_a_reference_on_the_grid_and_a_logarithm_on_request():
    x = np.random.default_rng(0).lognormal(size=(300, 12))
    x[5, 3] = 0.0
    config = ChainConfig(steps=(BinsConfig(), LogConfig()))
    y = fit(config, x, rate_hz=10.0, width_ms=100.0).apply(x)
    floor = np.min(np.where(x[:225] > 0, x[:225], np.inf), axis=0)
    np.testing.assert_allclose(y, np.log(np.maximum(x, floor)), rtol=1e-5)
    referenced = ChainConfig(steps=(ReferenceConfig(on_grid=True), BinsConfig()))
    y = fit(referenced, x, rate_hz=10.0, width_ms=100.0).apply(x)
    np.testing.assert_allclose(y, x - x.mean(1, keepdims=True), atol=1e-5)


def test_a_signal_slower_than_the_bins_is_interpolated_between_neighbours():
    x = np.arange(100.0)[:, None]
    x[50:53] = np.nan
    y = fit(ChainConfig(steps=(BinsConfig(),)), x, rate_hz=10.0, width_ms=20.0).apply(x)[:, 0]
    centres = (np.arange(500) + 0.5) * 0.02 * 10
    measured = (centres <= 49) | ((centres >= 53) & (centres <= 99))
    assert np.array_equal(np.isfinite(y), measured)
    np.testing.assert_allclose(y[measured], centres[measured], rtol=1e-5)


def test_saving_and_loading_is_identity():
    x = with_gaps(lfp())
    for config in (*PRESETS, ALL, ChainConfig(steps=(BinsConfig(), BandPassConfig(low_hz=1.0), ZScoreConfig()))):
        chain = fit(config, x, bad=["ch3"])
        text = json.dumps(chain.to_dict())
        again = FittedChain.from_dict(json.loads(text), chain.arrays())
        np.testing.assert_array_equal(again.apply(x), chain.apply(x))
        assert json.dumps(again.to_dict()) == text and again.feature_names == chain.feature_names
        assert all(isinstance(v, np.ndarray) for v in chain.arrays().values())


@pytest.mark.parametrize("config", [*PRESETS.values(), ALL, DECIMATED], ids=[*PRESETS, "all", "decimated"])
def test_a_stream_continues_from_its_state(config):
    x = with_gaps(lfp())
    chain = fit(config, x)
    for stop in (937, 1704, 2500):
        stream = chain.stream()
        stream.set_bad_channels(["ch5"])
        stream.push(x[:stop])
        state = {k: v.copy() for k, v in stream.state().items()}
        expected = np.concatenate([stream.push(x[stop:]), stream.flush()])
        resumed = chain.stream()
        resumed.restore(state)
        np.testing.assert_array_equal(np.concatenate([resumed.push(x[stop:]), resumed.flush()]), expected)


def test_bad_channels_leave_reference_and_features():
    x = lfp()
    noisy = x.copy()
    noisy[:, 4] *= 1000
    chain = fit(ChainConfig(steps=(ReferenceConfig(), BinsConfig())), noisy, bad=["ch4"])
    assert chain.feature_names == tuple(f"ch{i}" for i in range(CHANNELS) if i != 4)
    good = np.delete(x, 4, axis=1)
    expected = (good - good.mean(1, keepdims=True)).reshape(-1, 5, 8).mean(1)
    np.testing.assert_allclose(chain.apply(noisy), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["average", "median", "bipolar"])
def test_a_channel_that_turns_bad_live_is_left_out_and_comes_back_clean(kind):
    x = lfp()
    config = ChainConfig(
        steps=(ReferenceConfig(kind=kind), BandPassConfig(low_hz=1.0, order=2), AntiAliasConfig(), BinsConfig())
    )
    chain = fit(config, x)
    broken = x.copy()
    broken[1000:2000, 0] = np.nan
    stream = chain.stream()
    first = stream.push(broken[:1000])
    stream.set_bad_channels(["ch0"])
    during = stream.push(broken[1000:2000])
    stream.set_bad_channels([])
    after = stream.push(broken[2000:])
    assert np.isnan(during[:, 0]).all() and np.isfinite(during[:, 1:]).all()
    assert np.isfinite(first).all() and np.isfinite(after).all()
    assert np.abs(after).max() < 20
    fresh = chain.with_clock(rate_hz=500.0, start_s=4.0, grid_start_s=4.0).stream().push(broken[2000:])
    np.testing.assert_allclose(after[:, 0], fresh[:, 0], rtol=1e-9, atol=1e-9)
    if kind != "bipolar":
        center = {"average": np.mean, "median": np.median}[kind](x[1000:2000, 1:], axis=1)
        plain = ChainConfig(steps=(BandPassConfig(low_hz=1.0, order=2), AntiAliasConfig(), BinsConfig()))
        other = np.concatenate(
            [
                x[:1000] - {"average": np.mean, "median": np.median}[kind](x[:1000], axis=1)[:, None],
                x[1000:2000] - center[:, None],
            ]
        )
        expected = fit(plain, other).stream().push(other)
        np.testing.assert_allclose(during[:, 1:], expected[200:, 1:], rtol=1e-9, atol=1e-9)


def test_live_masks_refuse_unknown_names_and_everything():
    stream = fit("bins", lfp()).stream()
    with pytest.raises(InputError, match="'x'"):
        stream.set_bad_channels(["x"])
    with pytest.raises(InputError, match="at least one"):
        stream.set_bad_channels([f"ch{i}" for i in range(CHANNELS)])
    with pytest.raises(InputError, match="samples"):
        stream.push(np.zeros((3, 2)))


def test_few_channels_have_no_common_reference_and_say_so():
    chain = fit("bins", lfp(channels=3))
    assert "no common average: 3 channels, at least 8 needed" in chain.describe()


def test_bipolar_and_names():
    x = lfp()
    chain = fit(ChainConfig(steps=(ReferenceConfig(kind="bipolar"), BinsConfig())), x)
    assert chain.feature_names[:2] == ("ch0-ch1", "ch1-ch2") and len(chain.feature_names) == CHANNELS - 1
    np.testing.assert_allclose(chain.apply(x), np.diff(-x, axis=1).reshape(-1, 5, 8).mean(1), atol=1e-5)


def test_band_power_equals_a_slow_twin():
    from spikefield.signals.filters import band_pass_sos, zero_phase_filter

    x = lfp()
    bands = ((0.0, 0.0), (4.0, 8.0), (25.0, 50.0))
    config = ChainConfig(steps=(BandPowerConfig(bands_hz=bands, form="zero_phase"), BinsConfig()))
    chain = fit(config, x)
    y = chain.apply(x).reshape(-1, CHANNELS, 3)
    for k, (low, high) in enumerate(bands):
        z = x if high == 0 else zero_phase_filter(x, band_pass_sos(low, high, order=2, rate_hz=500.0)) ** 2
        np.testing.assert_allclose(y[:, :, k], z.reshape(-1, 5, CHANNELS).mean(1), rtol=1e-4, atol=1e-5)
    assert chain.feature_names[:4] == ("ch0/lmp", "ch0/4-8Hz", "ch0/25-50Hz", "ch1/lmp")


def test_causal_band_power_is_as_late_as_stated():
    rng = np.random.default_rng(0)
    t = np.arange(60_000) / 500
    loud = 1 + 0.9 * np.sin(2 * np.pi * 0.4 * t)[:, None]
    x = loud * np.sin(2 * np.pi * np.sqrt(8 * 12) * t)[:, None] + 0.01 * rng.normal(size=(60_000, 1))
    config = ChainConfig(steps=(BandPowerConfig(bands_hz=((8.0, 12.0),)), BinsConfig()))
    chain = fit(config, x)
    power, sent = chain.apply(x)[:, 0], np.square(loud[2::5, 0])
    smooth = np.convolve(power, np.ones(11) / 11, "same")
    lags = np.arange(0, 40)
    score = [np.corrcoef(smooth[500 + lag : -500 + lag], sent[500:-500])[0, 1] for lag in lags]
    assert lags[int(np.argmax(score))] * 10 == pytest.approx(chain.delay_ms, abs=20)
    assert chain.delay_ms > 30


def test_the_papers_nine_bands_and_those_out_of_reach():
    chain = fit("band_power", lfp())
    assert len(chain.feature_names) == 8 * CHANNELS
    assert "left out above the signal's reach: 200-400Hz" in chain.describe()
    assert len(fit("band_power", lfp(rate_hz=1000.0), rate_hz=1000.0).feature_names) == 9 * CHANNELS


def test_configs_go_through_plain_values():
    for config in (*PRESETS.values(), ALL, DECIMATED):
        assert ChainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"steps": [], "x": 1}, "one list `steps`"),
        ({"steps": []}, "bins exactly once"),
        ({"steps": [{"step": "smooth"}]}, "must be one of anti_alias, band_pass"),
        ({"steps": [{"step": "notch", "mains": 50}]}, "does not know 'mains'. Use only mains_hz, quality, form"),
        ({"steps": [{"step": "notch", "mains_hz": 55}]}, "50, 60 or null"),
        ({"steps": [{"step": "notch", "form": "acausal"}]}, "causal, zero_phase"),
        ({"steps": ["bins"]}, "mapping"),
        ({"steps": [{"step": "band_pass", "low_hz": 5, "high_hz": 2}, {"step": "bins"}]}, "in order"),
        ({"steps": [{"step": "band_pass", "low_hz": "5"}, {"step": "bins"}]}, "low_hz. must be of type float"),
        ({"steps": [{"step": "bins"}, {"step": "notch"}]}, "Move it up"),
        ({"steps": [{"step": "zscore"}, {"step": "bins"}]}, "Move it down"),
        ({"steps": [{"step": "bins", "method": "max"}]}, "mean, center"),
        ({"steps": [{"step": "reference", "kind": "car"}, {"step": "bins"}]}, "average, median"),
        ({"steps": [{"step": "band_power", "bands_hz": [[4, 2]]}, {"step": "bins"}]}, "0 < low < high"),
    ],
)
def test_bad_configs_are_refused_in_one_line(content, match):
    with pytest.raises(InputError, match=match) as caught:
        ChainConfig.from_dict(content)
    assert "\n" not in str(caught.value)


def test_bad_input_is_refused_in_one_line():
    x = lfp()
    with pytest.raises(InputError, match="preset"):
        fit("light", x)
    with pytest.raises(InputError, match="outside the bin grid"):
        fit("bins", x, start_s=100.0, n_bins=50)
    with pytest.raises(InputError, match="bad_channels"):
        fit("bins", x, bad=["nope"])
    flat = x.copy()
    flat[:, 2] = 1.0
    unreferenced = ChainConfig(steps=(BinsConfig(), ZScoreConfig()))
    with pytest.raises(InputError, match="constant in training time: ch2"):
        fit(unreferenced, flat)
    with pytest.raises(InputError, match="rate_hz"):
        fit("bins", x).with_clock(rate_hz=1000.0, start_s=0.0, grid_start_s=0.0)
    with pytest.raises(InputError, match="below half"):
        fit(ChainConfig(steps=(BandPassConfig(high_hz=300.0), BinsConfig())), x)


def test_input_is_left_as_it_is():
    x = with_gaps(lfp())
    x.flags.writeable = False
    for name in PRESETS:
        fit(name, x).apply(x)

"""Blocked splits: kinds never overlap, guards hold at every border, trials stay whole, gaps belong to none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from spikefield.errors import InputError
from spikefield.windows.binned import BinningConfig, bin_session
from spikefield.windows.splits import SplitConfig, blocked_split, runs, shuffled_split

KINDS = ("train", "valid", "test")


def split_of(segment, trial=None, reach_s=0.0, bin_width_ms=20.0, **config):
    return blocked_split(
        segment,
        config=SplitConfig(**config),
        bin_width_ms=bin_width_ms,
        reach_s=reach_s,
        session_id="made",
        trial=trial,
    )


@st.composite
def recordings(draw):
    """Return (segment, trial): a few intervals with gaps between them, and trials that may cover part of them."""
    lengths = draw(st.lists(st.integers(500, 900), min_size=3, max_size=5))
    gaps = draw(st.lists(st.integers(0, 60), min_size=len(lengths), max_size=len(lengths)))
    pieces = [
        np.concatenate([np.full(n, i), np.full(g, -1)]) for i, (n, g) in enumerate(zip(lengths, gaps, strict=True))
    ]
    segment = np.concatenate(pieces)
    if not draw(st.booleans()):
        return segment, None
    every, length = draw(st.integers(20, 60)), draw(st.integers(5, 20))
    bins = np.arange(len(segment))
    return segment, np.where(bins % every < length, bins // every, -1)


@settings(max_examples=30, deadline=None)
@given(recording=recordings(), guard_s=st.floats(0, 0.2), reach_s=st.floats(0, 0.2))
def test_laws_of_a_split(recording, guard_s, reach_s):
    segment, trial = recording
    split = split_of(segment, trial, reach_s=reach_s, guard_s=guard_s)
    masks = np.stack([split.kind(k) for k in KINDS])
    assert masks.sum(0).max() == 1, "no bin is of two kinds"
    assert not masks[:, segment < 0].any(), "no bin of a gap is of a kind"
    assert split.guard_bins * 20 >= 1000 * (guard_s + reach_s) - 1e-6
    bins = [np.flatnonzero(mask) for mask in masks]
    for i in range(3):
        for j in range(i):
            nearest = np.abs(bins[i][:, None] - bins[j][None]).min()
            assert nearest > 2 * split.guard_bins, "guards on both sides of every border"
    kind = np.where(masks.any(0), masks.argmax(0), -1)
    block_bins = (segment >= 0).sum() / 10
    for label in (segment, trial) if trial is not None else (segment,):
        for start, end in runs(segment >= 0, label):
            if end - start < block_bins / 2:
                assert len(set(kind[start:end]) - {-1}) <= 1, "short segments and trials are of one kind"


def test_without_guard_every_valid_bin_is_used():
    segment = np.repeat([0, -1, 1], [600, 50, 400])
    split = split_of(segment, guard_s=0.0)
    used = split.train | split.valid | split.test
    assert np.array_equal(used, segment >= 0)
    assert split.test.sum() == 300 and split.valid.sum() == 100


def test_blocks_are_equal_shares_of_valid_time():
    split = split_of(np.zeros(5000, int), guard_s=0.2)
    assert runs(split.valid) == [(0, 490)]
    assert runs(split.test) == [(1010, 1490), (2510, 2990), (4010, 4490)]
    assert runs(split.train) == [(510, 990), (1510, 2490), (3010, 3990), (4510, 5000)]


def test_a_border_inside_a_trial_moves_to_its_edge():
    bins = np.arange(5000)
    trial = np.where((bins >= 900) & (bins < 1080), 0, np.where((bins >= 1460) & (bins < 1530), 1, -1))
    split = split_of(np.zeros(5000, int), trial, guard_s=0.0)
    assert runs(split.test)[0] == (1080, 1530), "each trial goes where most of it lies"
    assert runs(split_of(np.zeros(5000, int), guard_s=0.0).test)[0] == (1000, 1500)


def test_guards_lie_on_both_sides_of_a_gap():
    segment = np.repeat([0, -1, 1], [1000, 30, 4000])
    split = split_of(segment, guard_s=0.2, valid_blocks=(0, 1), test_blocks=(2,))
    assert runs(split.valid)[-1] == (0, 990)
    assert runs(split.test)[0] == (1040, 1520)


@pytest.mark.parametrize("n_bins", [100, 400])
def test_too_little_data_says_what_is_left(n_bins):
    with pytest.raises(InputError, match=r"made: too little data for a split: \d\.\d\d s of \w+ time .*at least 1 s"):
        split_of(np.zeros(n_bins, int))


def test_runs_equal_a_loop():
    rng = np.random.default_rng(0)
    mask, segment = rng.random(400) < 0.8, np.repeat(np.arange(40), 10)
    found, start = [], None
    for i in range(401):
        inside = i < 400 and mask[i]
        if start is not None and (not inside or segment[i] != segment[start]):
            found.append((start, i))
            start = None
        if inside and start is None:
            start = i
    assert runs(mask, segment) == found


def test_a_split_is_saved_in_seconds():
    split = split_of(np.zeros(5000, int), guard_s=0.2)
    saved = split.to_dict(bin_width_ms=20.0, start_s=3.0)
    assert saved["valid"] == [[3.0, 12.8]] and saved["test"][0] == [23.2, 32.8]
    assert saved["guard_bins"] == 10 and saved["leaks"] is False and saved["bin_width_ms"] == 20.0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"valid_blocks": (2,)}, "must be different numbers below n_blocks=10"),
        ({"test_blocks": (10,)}, "must be different numbers below n_blocks=10"),
        ({"valid_blocks": ()}, "must each be at least one block"),
        ({"n_blocks": 2, "valid_blocks": (0,), "test_blocks": (1,)}, "must each be at least one block"),
        ({"guard_s": -0.1}, "`guard_s` must be 0 or more"),
    ],
)
def test_impossible_splits_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        SplitConfig(**given)


def test_an_unknown_kind_is_refused():
    with pytest.raises(InputError, match=r"`name` must be one of \('train', 'valid', 'test'\), got 'all'"):
        split_of(np.zeros(5000, int)).kind("all")


def test_the_published_split_leaks_and_says_so():
    segment = np.concatenate([np.zeros(6000, int), np.full(100, -1), np.ones(6100, int)])  # 20 ms: pieces of 500
    split = shuffled_split(segment, bin_width_ms=20.0, session_id="s")
    assert split.leaks and split.guard_bins == 0 and split.to_dict(bin_width_ms=20.0, start_s=0.0)["leaks"]
    assert not (split.train & (split.valid | split.test)).any() and (split.valid <= split.test).all()
    assert ((split.train | split.test) == (segment >= 0)).all() and (split.fitted == (segment >= 0)).all()
    assert split.valid.sum() / 12100 == pytest.approx(0.1, abs=0.05)
    assert split.test.sum() / 12100 == pytest.approx(0.2, abs=0.05)
    borders = np.flatnonzero(np.diff(split.train[:6000].astype(int))) + 1
    assert len(borders) and not (borders % 500).any()  # whole pieces, side by side


def test_statistics_of_the_published_protocol_are_of_all_time():
    session = tiny.session(0)
    blocked, published = (
        bin_session(session, config=BinningConfig(bin_width_ms=20.0, split=SplitConfig(protocol=protocol)))
        for protocol in ("blocked", "paper")
    )
    assert abs(published.lfp[published.segment >= 0].mean(0)).max() < 0.05
    assert (blocked.split.fitted == blocked.split.train).all() and not blocked.split.leaks
    with pytest.raises(InputError, match="`protocol` must be one of blocked, paper"):
        SplitConfig(protocol="shuffled")

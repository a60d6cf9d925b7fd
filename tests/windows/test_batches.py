"""Windows and batches: cut where they should be, stacked without loss, and padding marked."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from spikefield.errors import InputError
from spikefield.recordings.arrays import from_arrays
from spikefield.windows.batches import WindowDataset, WindowSampler, collate, sequential_windows
from spikefield.windows.binned import BinningConfig, bin_session


@pytest.fixture(scope="module")
def trials():
    """A session of trials of 0.1 to 1.3 s, each an interval of its own."""
    rng = np.random.default_rng(3)
    edges = np.concatenate([[0], np.cumsum(rng.integers(5, 65, size=70))]) / 50
    intervals = np.stack([edges[:-1], edges[1:]], 1)
    intervals = intervals[intervals[:, 1] <= 45]
    session = from_arrays(**tiny.arrays(0), intervals_s=intervals, trials_s=intervals)
    return bin_session(session, config=BinningConfig(bin_width_ms=20.0))


def sampler_of(sessions, window_bins=40, seed=0, kind="train"):
    generator = torch.Generator().manual_seed(seed)
    return WindowSampler(sessions, kind=kind, window_bins=window_bins, generator=generator)


def inside_one(session, kind, start, end):
    return any(s <= start and end <= e for s, e in session.stretches(kind))


@pytest.mark.parametrize("kind", ["train", "test"])
def test_random_windows_stay_inside_stretches(sessions, trials, kind):
    by_id = {s.session_id: s for s in [*sessions[1:], trials]}
    sampler = sampler_of(list(by_id.values()), kind=kind)
    dataset = WindowDataset(list(by_id.values()), modalities=("lfp",))
    starts = set()
    for _ in range(5):
        for index in sampler:
            start, end = round(index.start), round(index.end)
            session = by_id[index.recording_id]
            assert inside_one(session, kind, start, end)
            assert end - start == 40 or (start, end) in session.stretches(kind), "whole trials where they are short"
            assert len(dataset[index][1]["lfp"]) == end - start
            starts.add((index.recording_id, start))
    assert len(starts) > 1.5 * len(sampler), "windows start elsewhere in every epoch"


def test_an_epoch_is_as_long_as_it_says(sessions, trials):
    sampler = sampler_of([*sessions, trials])
    assert len(list(sampler)) == len(sampler) == len(list(sampler))


def test_the_generator_decides(sessions):
    first, again, other = ([(i.recording_id, i.start) for i in sampler_of(sessions, seed=s)] for s in (1, 1, 2))
    assert first == again != other


def test_windows_longer_than_all_stretches_are_whole_stretches(sessions):
    found = sorted((round(i.start), round(i.end)) for i in sampler_of(sessions[:1], window_bins=10_000))
    assert found == sessions[0].stretches("train")


def test_no_usable_stretch_is_refused(sessions):
    with pytest.raises(InputError, match="no stretch of train time is 9999 bins long"):
        WindowSampler(sessions[:1], kind="train", window_bins=20_000, generator=torch.Generator(), min_bins=9999)


@settings(max_examples=30, deadline=None)
@given(window_bins=st.integers(4, 600))
def test_sequential_windows_cover_every_long_enough_stretch(sessions, trials, window_bins):
    for session in (sessions[0], trials):
        for kind in ("train", "valid", "test"):
            covered = np.zeros(session.n_bins, int)
            for index in sequential_windows([session], kind=kind, window_bins=window_bins):
                assert inside_one(session, kind, index.start, index.end)
                assert index.end - index.start <= window_bins
                covered[index.start : index.end] += 1
            for start, end in session.stretches(kind):
                assert (covered[start:end] >= 1).all() if end - start >= 4 else not covered[start:end].any()
            inside = np.zeros(session.n_bins, bool)
            for start, end in session.stretches(kind):
                inside[start:end] = True
            assert not covered[~inside].any() and covered.max() <= 2


def test_a_window_holds_its_part_of_every_stream(sessions):
    targets = {s.session_id: np.random.default_rng(0).normal(size=(s.n_bins, 3)) for s in sessions}
    dataset = WindowDataset(sessions, modalities=("spikes", "lfp", "behavior"), targets=targets)
    for index in sequential_windows(sessions, kind="test", window_bins=33)[::7]:
        session_id, window = dataset[index]
        session = next(s for s in sessions if s.session_id == session_id)
        piece = slice(index.start, index.end)
        assert np.array_equal(window["spikes"], session.counts[piece])
        assert np.array_equal(window["lfp"], session.lfp[piece])
        np.testing.assert_allclose(window["behavior"], session.behavior[piece], rtol=1e-6)
        np.testing.assert_allclose(window["targets"], targets[session_id][piece], rtol=1e-6)


def test_a_session_without_the_modality_is_refused():
    with pytest.raises(InputError, match="session 's0' has no lfp"):
        WindowDataset([tiny.binned(0, without=("lfp",))], modalities=("lfp",))


def items(shapes):
    return [
        (
            f"s{i}",
            {
                "spikes": torch.randint(1, 5, (bins, units), dtype=torch.int32),
                "lfp": torch.randn(bins, channels),
                "behavior": torch.randn(bins, 2),
                "targets": torch.randn(bins, 4),
            },
        )
        for i, (bins, units, channels) in enumerate(shapes)
    ]


@settings(max_examples=30, deadline=None)
@given(
    shapes=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=4),
)
def test_a_batch_holds_every_value_once_and_zeros_elsewhere(shapes):
    given = items(shapes)
    batch = collate(given)
    assert batch.session_ids == tuple(f"s{i}" for i in range(len(shapes)))
    for row, (_, window) in enumerate(given):
        bins, units, channels = shapes[row]
        assert batch.time_valid[row].sum() == bins and batch.time_valid[row, :bins].all()
        assert batch.unit_valid[row].nonzero().ravel().tolist() == list(range(units))
        assert batch.channel_valid[row].nonzero().ravel().tolist() == list(range(channels))
        for stacked, own in ((batch.counts, "spikes"), (batch.lfp, "lfp"), (batch.behavior, "behavior")):
            array = window[own]
            assert torch.equal(stacked[row, : array.shape[0], : array.shape[1]], array)
            assert stacked[row].count_nonzero() == array.count_nonzero()
        assert torch.equal(batch.targets[row, :bins], window["targets"])


def test_a_batch_of_one_modality_has_no_other():
    batch = collate([("a", {"lfp": torch.randn(5, 2)})])
    assert batch.counts is None and batch.unit_valid is None and batch.targets is None and batch.behavior is None


def test_a_batch_moves_whole():
    batch = collate(items([(5, 2, 3)])).to("meta")
    assert {t.device.type for t in vars(batch).values() if isinstance(t, torch.Tensor)} == {"meta"}
    assert batch.session_ids == ("s0",)

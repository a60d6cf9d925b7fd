"""Sessions that outgrow memory lie on disk, and nobody who reads them can tell."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from spikefield.windows.batches import WindowDataset, sequential_windows
from spikefield.windows.on_disk import kept, on_disk


def same_windows(one, other):
    streams = ("spikes", "lfp", "behavior")
    first, second = (WindowDataset([s], modalities=streams) for s in (one, other))
    for index in sequential_windows([one], kind="train", window_bins=40):
        (a, window), (b, other_window) = first[index], second[index]
        assert a == b and all(torch.equal(window[k], other_window[k]) for k in streams)


def test_windows_from_disk_are_those_from_memory(sessions):
    for session in sessions:
        mapped = on_disk(session)
        assert all(isinstance(a, np.memmap) for a in (mapped.counts, mapped.lfp, mapped.behavior))
        same_windows(session, mapped)


def test_only_what_outgrows_memory_goes_to_disk(sessions):
    size = sum(a.nbytes for a in (sessions[0].counts, sessions[0].lfp, sessions[0].behavior))
    found = list(kept(sessions, in_memory_bytes=1.5 * size))
    assert [isinstance(s.lfp, np.memmap) for s in found] == [False, True, True]
    assert not any(isinstance(s.lfp, np.memmap) for s in kept(sessions))


def test_nothing_is_left_behind(sessions, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    mapped = on_disk(sessions[0])
    assert list(Path(tmp_path).iterdir()) == [] and mapped.lfp.sum() == pytest.approx(sessions[0].lfp.sum())


def test_a_window_is_a_copy(sessions):
    dataset = WindowDataset(sessions[:1], modalities=("lfp",))
    index = sequential_windows(sessions[:1], kind="train", window_bins=40)[0]
    before = sessions[0].lfp.copy()
    dataset[index][1]["lfp"].zero_()
    assert np.array_equal(sessions[0].lfp, before)

"""The configuration: presets that parse, encoders that suit the sessions, and errors."""

from dataclasses import replace

import numpy as np
import pytest

import tiny
from spikefield.config import (
    PRESETS,
    ExperimentConfig,
    lfp_encoder,
    load_preset,
    preset_path,
    spike_encoder,
    student_encoder,
    window_bins,
)
from spikefield.errors import InputError
from spikefield.models.transformer import TransformerConfig


def test_the_largest_count_is_that_of_training_time(sessions):
    session = sessions[0]
    spoilt = np.where(session.split.train[:, None], session.counts, 19).astype(np.int32)
    config = ExperimentConfig()
    assert spike_encoder(config, [replace(session, counts=spoilt)]) == spike_encoder(config, [session])


def test_every_preset_has_its_file_and_every_file_its_preset():
    folder = preset_path("quick").parent
    assert sorted(p.stem for p in folder.glob("*.yaml")) == sorted(PRESETS)
    with pytest.raises(
        InputError, match=r"`preset` must be one of \('quick', 'compact', 'paper', 'paper-power'\), got 'huge'"
    ):
        preset_path("huge")


@pytest.mark.parametrize(("largest", "expected"), [(1, 5), (9, 9), (300, 20)])
def test_the_largest_count_follows_the_recordings(sessions, largest, expected):
    counts = np.zeros_like(sessions[0].counts)
    counts[np.flatnonzero(sessions[0].split.train)[:10]] = largest
    session = replace(sessions[0], counts=counts)
    assert spike_encoder(tiny.config(), [session]).max_count == expected
    assert spike_encoder(tiny.config(max_count=3), [session]).max_count == 3


@pytest.mark.parametrize(
    ("units", "dim", "expected"), [(95, 64, 32), (40, 64, 32), (17, 64, 16), (17, 48, 16), (3, 64, 2)]
)
def test_patches_of_units_leave_some_to_hide(sessions, units, dim, expected):
    few = replace(sessions[0], counts=np.ones((sessions[0].n_bins, units), np.int32))
    many = replace(few, counts=np.ones((few.n_bins, 200), np.int32))
    config = tiny.config(spike_patch=None, transformer=TransformerConfig(dim=dim, n_layers=1, n_heads=2))
    assert spike_encoder(config, [few, many]).patch_size == expected


def test_a_preset_is_read_from_its_file():
    quick, paper = load_preset("quick"), load_preset("paper")
    assert quick.autoencoding.co_smoothing and not paper.autoencoding.co_smoothing
    assert (quick.transformer.dim, paper.transformer.dim, paper.spike_patch) == (64, 256, 64)


def test_one_patch_holds_all_channels_unless_told(sessions):
    assert lfp_encoder(tiny.config(), sessions).patch_size == 8
    assert lfp_encoder(tiny.config(lfp_patch=3), sessions).patch_size == 3


def test_only_the_student_hides_channels(sessions):
    config = tiny.config(student_channel_dropout=0.25)
    assert student_encoder(config, sessions).channel_dropout == 0.25
    assert lfp_encoder(config, sessions).channel_dropout == 0.0


def test_windows_follow_the_bins():
    assert window_bins(ExperimentConfig(window_s=5.0), 20.0) == 250
    assert window_bins(ExperimentConfig(window_s=5.0), 30.0) == 167
    assert window_bins(ExperimentConfig(window_s=0.01), 100.0) == 1
    assert window_bins(ExperimentConfig(), 20.0) == 125
    assert window_bins(ExperimentConfig(), 100.0) == 50


@pytest.mark.parametrize("window_s", [0.0, -1.0])
def test_impossible_windows_are_refused(window_s):
    with pytest.raises(InputError, match="`window_s` must be a positive number of seconds"):
        ExperimentConfig(window_s=window_s)

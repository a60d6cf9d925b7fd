"""The learning rate at every point of a run, and which weights decay."""

import math

import pytest
import torch
from torch import nn

from spikefield.errors import InputError
from spikefield.models.encoder import Encoder, EncoderConfig
from spikefield.models.transformer import TransformerConfig
from spikefield.objectives.autoencoding import AutoencodingConfig, MaskedAutoencoder
from spikefield.objectives.distillation import DistillationConfig, Student
from spikefield.training.optimiser import OptimiserConfig, build_optimiser, learning_rate_factor, stretched

SIZE = TransformerConfig(dim=16, n_layers=1, n_heads=2)


def test_cosine_falls_to_zero_after_its_warm_up():
    config = OptimiserConfig(epochs=12, warmup_epochs=2.0, schedule="cosine")
    values = {0: 0.3, 1: 0.65, 2: 1.0, 7: 0.5, 12: 0.0, 15: 0.0}
    for epoch, factor in values.items():
        assert learning_rate_factor(config, epoch=float(epoch)) == pytest.approx(factor, abs=1e-12)
    assert learning_rate_factor(config, epoch=4.5) == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.25)))


def test_exponential_falls_by_half_a_percent_an_epoch_as_published():
    config = OptimiserConfig(epochs=400, warmup_epochs=30.0, schedule="exponential")
    values = {0: 0.3, 15: 0.65, 30: 1.0, 31: 0.995, 130: 0.995**100}
    for epoch, factor in values.items():
        assert learning_rate_factor(config, epoch=float(epoch)) == pytest.approx(factor)


def test_short_recordings_are_passed_over_more_often():
    config = OptimiserConfig(epochs=10, min_steps=100, warmup_epochs=2.0, patience_epochs=5)
    long = stretched(config, steps_per_epoch=3)
    assert (long.epochs, long.patience_epochs) == (34, 17) and long.warmup_epochs == pytest.approx(6.8)
    assert stretched(config, steps_per_epoch=10) == stretched(config, steps_per_epoch=50) == config


def test_without_warm_up_the_peak_comes_first():
    assert learning_rate_factor(OptimiserConfig(warmup_epochs=0.0), epoch=0.0) == 1.0


def networks():
    spikes = Encoder(EncoderConfig("spikes", 4, transformer=SIZE))
    field = Encoder(EncoderConfig("lfp", 4, transformer=SIZE))
    for encoder in (spikes, field):
        encoder.add_session("a", 6)
    yield MaskedAutoencoder(spikes, AutoencodingConfig(predictor=SIZE))
    yield Student(field, DistillationConfig(), n_channels=6, teacher_dim=24)


@pytest.mark.parametrize("network", list(networks()))
def test_only_matrices_of_linear_maps_and_convolutions_decay(network):
    optimiser = build_optimiser(network, OptimiserConfig(weight_decay=0.1, peak_learning_rate=1e-3))
    decay_of = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    assert len(decay_of) == len(list(network.parameters()))
    for name, parameter in network.named_parameters():
        matrix = name.endswith("weight") and parameter.ndim > 1 and "embedding" not in name
        assert decay_of[id(parameter)] == (0.1 if matrix else 0.0), name
    assert all(group["lr"] == 1e-3 and group["betas"] == (0.9, 0.95) for group in optimiser.param_groups)


def test_frozen_weights_are_left_out():
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    network[0].requires_grad_(False)
    optimiser = build_optimiser(network, OptimiserConfig())
    left = {id(p) for group in optimiser.param_groups for p in group["params"]}
    assert left == {id(p) for p in network[1].parameters()}
    assert isinstance(optimiser, torch.optim.AdamW)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"schedule": "linear"}, r"`schedule` must be one of \('cosine', 'exponential'\), got 'linear'"),
        ({"min_steps": -1}, "`min_steps` must be 0 or more"),
        ({"epochs": 0}, "`epochs` must be positive, got 0"),
        ({"batch_windows": 0}, "`batch_windows` must be positive"),
        ({"peak_learning_rate": 0.0}, "`peak_learning_rate` must be positive"),
        ({"patience_epochs": 0}, "`patience_epochs` must be positive"),
        ({"warmup_epochs": -1.0}, "`warmup_epochs` and `weight_decay` must be 0 or more"),
        ({"weight_decay": -1.0}, "`warmup_epochs` and `weight_decay` must be 0 or more"),
    ],
)
def test_impossible_runs_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        OptimiserConfig(**given)

"""Say beforehand how long an experiment will take and what memory it needs, from a few steps on this machine."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import psutil
import torch
from torch import nn

from spikefield.config import lfp_encoder, spike_encoder
from spikefield.models.encoder import Encoder, EncoderConfig
from spikefield.objectives.autoencoding import MaskedAutoencoder
from spikefield.training.loop import loaders
from spikefield.windows.binned import BinnedSession

if TYPE_CHECKING:
    from spikefield.experiments.runner import Experiment

_TIMED_STEPS = 3


def forecast(experiment: "Experiment") -> str:
    """Return one line: the expected minutes and memory of all training that the experiment asks for."""
    corpus, config = experiment.corpus, experiment.config
    spiking, field = corpus.having("spikes"), corpus.having("lfp")
    per_seed = _seconds_an_epoch(experiment, spiking, spike_encoder(config, spiking)) * config.pretraining.epochs
    field_epoch = _seconds_an_epoch(experiment, field, lfp_encoder(config, field))
    per_seed += 2 * field_epoch * config.pretraining.epochs
    per_seed += field_epoch * len(experiment.paired) / len(field) * config.distilling.epochs
    minutes = per_seed * len(experiment.seeds) / 60
    used_gb, free_gb = psutil.Process().memory_info().rss / 1e9, psutil.virtual_memory().available / 1e9
    return (
        f"expect about {minutes:.1f} minutes of training for {len(experiment.seeds)} seed(s) on this machine, "
        f"and {used_gb:.1f} GB of memory ({free_gb:.0f} GB are free)"
    )


def _seconds_an_epoch(experiment: "Experiment", sessions: Sequence[BinnedSession], encoder: EncoderConfig) -> float:
    config = experiment.config
    network = MaskedAutoencoder(Encoder(encoder), config.autoencoding)
    for session in sessions:
        network.encoder.add_session(session.session_id, session.require(encoder.modality).shape[1])
    train, _ = loaders(
        sessions,
        modalities=(encoder.modality,),
        window_bins=experiment.corpus.window_bins,
        batch_windows=config.pretraining.batch_windows,
        seed=0,
    )
    batch = next(iter(train))
    _step(network, batch)
    start = time.perf_counter()
    for _ in range(_TIMED_STEPS):
        _step(network, batch)
    return (time.perf_counter() - start) / _TIMED_STEPS * len(train)


def _step(network: nn.Module, batch: object) -> None:
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    network(batch).backward()

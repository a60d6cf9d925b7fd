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
from spikefield.training.optimiser import OptimiserConfig, stretched
from spikefield.windows.binned import BinnedSession

if TYPE_CHECKING:
    from spikefield.experiments.runner import Experiment

_TIMED_STEPS = 3


def forecast(experiment: "Experiment", *, workers: int) -> str:
    """Return one line: the expected minutes and memory of all training that the experiment asks for."""
    corpus, config = experiment.corpus, experiment.config
    spiking, field = corpus.having("spikes"), corpus.having("lfp")
    each = [
        _seconds(experiment, spiking, spike_encoder(config, spiking), config.pretraining),
        _seconds(experiment, field, lfp_encoder(config, field), config.pretraining),
        *(_seconds(experiment, [s], lfp_encoder(config, [s]), config.pretraining) for s in field),
        _seconds(experiment, experiment.paired, lfp_encoder(config, field), config.distilling),
    ]
    minutes = sum(each) * len(experiment.seeds) / workers / 60
    used_gb, free_gb = psutil.Process().memory_info().rss / 1e9, psutil.virtual_memory().available / 1e9
    return (
        f"expect about {max(minutes, 0.1):.1f} minutes of training for {len(experiment.seeds)} seed(s), {workers} at a "
        f"time, and {used_gb * (workers + 1):.1f} GB of memory ({free_gb:.0f} GB are free)"
    )


def _seconds(
    experiment: "Experiment", sessions: Sequence[BinnedSession], encoder: EncoderConfig, optimiser: OptimiserConfig
) -> float:
    """Time a few steps of an autoencoder of this size and return what the whole run would take."""
    network = MaskedAutoencoder(Encoder(encoder), experiment.config.autoencoding)
    for session in sessions:
        network.encoder.add_session(session.session_id, session.require(encoder.modality).shape[1])
    train, _ = loaders(
        sessions,
        modalities=(encoder.modality,),
        window_bins=experiment.corpus.window_bins,
        batch_windows=optimiser.batch_windows,
        seed=0,
    )
    batch = next(iter(train))
    _step(network, batch)
    start = time.perf_counter()
    for _ in range(_TIMED_STEPS):
        _step(network, batch)
    step_s = (time.perf_counter() - start) / _TIMED_STEPS
    return step_s * len(train) * stretched(optimiser, steps_per_epoch=len(train)).epochs


def _step(network: nn.Module, batch: object) -> None:
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    network(batch).backward()

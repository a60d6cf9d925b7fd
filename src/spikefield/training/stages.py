"""The stages: pretrain by masked autoencoding, fine-tune to a session, distil a student from a frozen teacher.

Binned sessions and configurations in, trained networks and their curves out; nothing here reads or writes a file.
"""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from spikefield.errors import InputError
from spikefield.models.encoder import Encoder, EncoderConfig
from spikefield.models.tokenizer import patch_count
from spikefield.objectives.autoencoding import AutoencodingConfig, MaskedAutoencoder
from spikefield.objectives.distillation import DistillationConfig, Student
from spikefield.training.loop import EpochRecord, HardwareConfig, Objective, fit, loaders
from spikefield.training.optimiser import OptimiserConfig
from spikefield.training.teacher_cache import teacher_representations
from spikefield.windows.batches import Batch
from spikefield.windows.binned import BinnedSession


@dataclass(frozen=True)
class RunConfig:
    """What every stage needs besides its objective.

    An interrupted stage goes on from its `checkpoints` folder; a teacher's words are kept in `teacher_cache`.
    """

    optimiser: OptimiserConfig
    window_bins: int
    seed: int
    label: str
    hardware: HardwareConfig = HardwareConfig()
    progress: bool = True
    checkpoints: Path | None = None
    teacher_cache: Path | None = None


class _Autoencoding(Objective):
    network: MaskedAutoencoder

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        self._pass_over(batch, generator)
        return self.network(batch, generator=generator)

    def _pass_over(self, batch: Batch, generator: torch.Generator) -> None:
        """Draw what hides the tokens of the rows that other processes hold before these."""
        present = batch.channel_valid if batch.unit_valid is None else batch.unit_valid
        if self.share.first and present is not None:
            n_patches = patch_count(present.shape[1], self.network.encoder.config.patch_size)
            torch.rand(self.share.first, batch.time_valid.shape[1] * n_patches, generator=generator)


class _Distillation(Objective):
    network: Student

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        if batch.targets is None:
            raise InputError("this batch holds no teacher representation. Give `targets` for every session.")
        reconstruction, alignment = self.network(batch, batch.targets)
        return reconstruction + self.network.config.alignment_weight * alignment


def pretrain(
    sessions: Sequence[BinnedSession], *, encoder: EncoderConfig, autoencoding: AutoencodingConfig, run: RunConfig
) -> tuple[MaskedAutoencoder, list[EpochRecord]]:
    """Train a masked autoencoder on one modality of one or many sessions (method, section 4).

    Raises:
        InputError: a session lacks the modality.
    """
    with _quiet(run.seed):
        network = MaskedAutoencoder(Encoder(encoder), autoencoding)
        for session in sessions:
            network.encoder.add_session(session.session_id, session.require(encoder.modality).shape[1])
        return network, _fit_autoencoder(network, sessions, run)


def finetune(network: MaskedAutoencoder, sessions: Sequence[BinnedSession], *, run: RunConfig) -> list[EpochRecord]:
    """Go on training an autoencoder, unsupervised, on known or new sessions; the network is changed in place."""
    modality = network.encoder.config.modality
    with _quiet(run.seed):
        for session in sessions:
            if session.session_id not in network.encoder.space.rows:
                network.encoder.add_session(session.session_id, session.require(modality).shape[1])
        return _fit_autoencoder(network, sessions, run)


def distill(
    sessions: Sequence[BinnedSession],
    *,
    teacher: Encoder,
    student: EncoderConfig,
    distillation: DistillationConfig,
    run: RunConfig,
) -> tuple[Student, list[EpochRecord]]:
    """Train a field-potential student towards the frozen teacher on paired sessions (method, section 5).

    The teacher runs once over each session; training reads its representations from memory or from their cache.

    Raises:
        InputError: a session lacks spikes or the field potential, or the teacher does not know it.
    """
    targets = teacher_representations(teacher, sessions, window_bins=run.window_bins, cache=run.teacher_cache)
    with _quiet(run.seed):
        n_channels = max(s.require("lfp").shape[1] for s in sessions)
        network = Student(
            Encoder(student),
            distillation,
            n_channels=n_channels,
            teacher_dim=teacher.config.transformer.dim,
        )
        for session in sessions:
            network.encoder.add_session(session.session_id, session.require("lfp").shape[1])
        train, valid = loaders(
            sessions,
            modalities=("lfp",),
            window_bins=run.window_bins,
            batch_windows=run.optimiser.batch_windows,
            seed=run.seed,
            targets=targets,
        )
        objective = _Distillation(network, run.optimiser, seed=run.seed)
        return network, _fit(objective, train, valid, run)


def _fit_autoencoder(
    network: MaskedAutoencoder, sessions: Sequence[BinnedSession], run: RunConfig
) -> list[EpochRecord]:
    train, valid = loaders(
        sessions,
        modalities=(network.encoder.config.modality,),
        window_bins=run.window_bins,
        batch_windows=run.optimiser.batch_windows,
        seed=run.seed,
    )
    objective = _Autoencoding(network, run.optimiser, seed=run.seed)
    return _fit(objective, train, valid, run)


def _fit(objective: Objective, train: DataLoader, valid: DataLoader, run: RunConfig) -> list[EpochRecord]:
    return fit(
        objective,
        train=train,
        valid=valid,
        hardware=run.hardware,
        label=run.label,
        progress=run.progress,
        checkpoints=run.checkpoints,
    )


@contextmanager
def _quiet(seed: int) -> Iterator[None]:
    """Seed every generator, and keep Lightning's hints about loaders and devices off the user's screen."""
    lightning.seed_everything(seed, verbose=False)
    names = (
        "lightning.fabric",
        "lightning.fabric.utilities.distributed",
        "lightning.pytorch",
        "lightning.pytorch.utilities.rank_zero",
        "lightning.pytorch.accelerators.cuda",
    )
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", message=".*isinstance.treespec.*")
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)


def with_seed(run: RunConfig, seed: int) -> RunConfig:
    """Return the same run with another seed."""
    return replace(run, seed=seed)

"""The stages: pretrain by masked autoencoding, fine-tune to a session, distil a student from a frozen teacher.

Binned sessions and configurations in, trained networks and their curves out; nothing here reads or writes a file.
"""

import copy
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import lightning
import numpy as np
from torch.utils.data import DataLoader

from spikefield.errors import InputError
from spikefield.models.encoder import Encoder, EncoderConfig
from spikefield.models.multimodal import add_session, build_encoder
from spikefield.objectives.autoencoding import AutoencodingConfig, MaskedAutoencoder
from spikefield.objectives.distillation import DistillationConfig, Student
from spikefield.objectives.supervised import SupervisedAutoencoder, SupervisedStudent
from spikefield.training.guidance import first_minutes, guidance
from spikefield.training.loop import EpochRecord, HardwareConfig, Objective, fit, loaders
from spikefield.training.losses import (
    Autoencoding,
    Distillation,
    JointDistillation,
    Rebuilding,
    SupervisedAutoencoding,
    SupervisedDistillation,
    Together,
    behavior_head,
)
from spikefield.training.optimiser import OptimiserConfig
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


def pretrain(
    sessions: Sequence[BinnedSession], *, encoder: EncoderConfig, autoencoding: AutoencodingConfig, run: RunConfig
) -> tuple[MaskedAutoencoder, list[EpochRecord]]:
    """Train a masked autoencoder on one modality of one or many sessions (method, section 4).

    Raises:
        InputError: a session lacks the modality.
    """
    with _quiet(run.seed):
        network = MaskedAutoencoder(build_encoder(encoder), autoencoding)
        _add(network.encoder, sessions)
        return network, _fit_autoencoder(network, sessions, run)


def finetune(network: MaskedAutoencoder, sessions: Sequence[BinnedSession], *, run: RunConfig) -> list[EpochRecord]:
    """Go on training an autoencoder, unsupervised, on known or new sessions; the network is changed in place."""
    with _quiet(run.seed):
        _add(network.encoder, sessions)
        return _fit_autoencoder(network, sessions, run)


def finetune_supervised(
    network: MaskedAutoencoder, sessions: Sequence[BinnedSession], *, run: RunConfig
) -> list[EpochRecord]:
    """Go on training an autoencoder with the behaviour of training time; the network is changed in place.

    Raises:
        InputError: a session lacks behaviour.
    """
    config = network.encoder.config
    with _quiet(run.seed):
        _add(network.encoder, sessions)
        train, valid = _loaders(sessions, (*config.modalities, "behavior"), run)
        whole = SupervisedAutoencoder(network, behavior_head(config.transformer.dim, sessions))
        return _fit(SupervisedAutoencoding(whole, run.optimiser, seed=run.seed), train, valid, run)


def distill(
    sessions: Sequence[BinnedSession],
    *,
    teacher: Encoder | MaskedAutoencoder,
    student: EncoderConfig,
    distillation: DistillationConfig,
    run: RunConfig,
    more_teachers: Sequence[Encoder | MaskedAutoencoder] = (),
) -> tuple[Student, list[EpochRecord]]:
    """Train a field-potential student towards the teacher on paired sessions (method, section 5).

    A frozen teacher runs once over each session; training reads its representations from memory or from their cache.
    `more_teachers` are aligned to beside it.

    Raises:
        InputError: a session lacks spikes or the field potential, or the teacher does not know it.
    """
    guide = teacher if isinstance(teacher, Encoder) else teacher.encoder
    if distillation.teacher_learns:
        targets, teacher_dim = None, guide.config.transformer.dim
    else:
        targets = guidance(distillation, [teacher, *more_teachers], sessions, run.window_bins, run.teacher_cache)
        teacher_dim = targets[sessions[0].session_id].shape[1]
    sessions = [first_minutes(session, distillation.paired_minutes) for session in sessions]
    with _quiet(run.seed):
        n_channels = max(s.require("lfp").shape[1] for s in sessions)
        network = Student(
            Encoder(student),
            distillation,
            n_channels=n_channels,
            teacher_dim=teacher_dim,
        )
        _add(network.encoder, sessions)
        if distillation.supervised:
            whole = SupervisedStudent(network, behavior_head(student.transformer.dim, sessions))
            objective, read = SupervisedDistillation(whole, run.optimiser, seed=run.seed), ("lfp", "behavior")
        elif distillation.teacher_learns:
            whole = Together(network, copy.deepcopy(guide))
            objective, read = JointDistillation(whole, run.optimiser, seed=run.seed), ("spikes", "lfp")
        else:
            objective, read = Distillation(network, run.optimiser, seed=run.seed), ("lfp",)
        train, valid = _loaders(sessions, read, run, targets)
        return network, _fit(objective, train, valid, run)


def tune_on_field(network: Student, session: BinnedSession, *, what: str, run: RunConfig) -> list[EpochRecord]:
    """Fit a student, in place, to the field of a session that it knows, by rebuilding alone; no spikes, no labels.

    Args:
        network: the student.
        session: gives the field.
        what: `space` for the space embedding alone, `all` for every weight.
        run: how long, and the seed.

    Raises:
        InputError: another `what`.
    """
    if what not in ("space", "all"):
        raise InputError(f"`what` must be space or all, got {what!r}. Choose one of them.")
    with _quiet(run.seed):
        if what == "space":
            network.requires_grad_(False)
            network.encoder.space.table.requires_grad_(True)
        train, valid = _loaders([session], ("lfp",), run)
        curve = _fit(Rebuilding(network, run.optimiser, seed=run.seed), train, valid, run)
        network.requires_grad_(True)
        return curve


def _add(encoder: Encoder, sessions: Sequence[BinnedSession]) -> None:
    """Make room for the sessions that the encoder does not know."""
    for session in sessions:
        if session.session_id not in encoder.space.rows:
            shape = {modality: session.require(modality).shape[1] for modality in encoder.config.modalities}
            add_session(encoder, session.session_id, shape)


def _fit_autoencoder(
    network: MaskedAutoencoder, sessions: Sequence[BinnedSession], run: RunConfig
) -> list[EpochRecord]:
    train, valid = _loaders(sessions, network.encoder.config.modalities, run)
    return _fit(Autoencoding(network, run.optimiser, seed=run.seed), train, valid, run)


def _loaders(
    sessions: Sequence[BinnedSession],
    modalities: tuple[str, ...],
    run: RunConfig,
    targets: dict[str, np.ndarray] | None = None,
) -> tuple[DataLoader, DataLoader]:
    return loaders(
        sessions,
        modalities=modalities,
        window_bins=run.window_bins,
        batch_windows=run.optimiser.batch_windows,
        seed=run.seed,
        targets=targets,
    )


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

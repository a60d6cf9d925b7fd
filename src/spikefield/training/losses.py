"""What one batch costs in each stage: networks and objectives in, one number out, for Lightning's loop.

batch -> autoencoding | distillation, each also supervised | distillation with a teacher that learns -> loss
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spikefield.errors import InputError
from spikefield.models.encoder import Encoder
from spikefield.objectives.autoencoding import MaskedAutoencoder
from spikefield.objectives.distillation import Student
from spikefield.objectives.supervised import BehaviorHead, Scale, SupervisedAutoencoder, SupervisedStudent
from spikefield.training.loop import Objective
from spikefield.windows.batches import Batch
from spikefield.windows.binned import BinnedSession
from spikefield.windows.shares import Share


class Autoencoding(Objective):
    """Masked autoencoding of one modality or of both."""

    network: MaskedAutoencoder

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Score what was hidden; a scalar."""
        _pass_over(self.network.encoder, batch, self.share, generator)
        return self.network(batch, generator=generator)


class SupervisedAutoencoding(Objective):
    """Masked autoencoding and behaviour."""

    network: SupervisedAutoencoder

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Score what was hidden and what was done; a scalar."""
        _pass_over(self.network.network.encoder, batch, self.share, generator)
        return self.network(batch, batch.behavior, generator=generator)


def _pass_over(encoder: Encoder, batch: Any, share: Share, generator: torch.Generator) -> None:
    """Draw what hides the tokens of the rows that other processes hold before these."""
    if share.first:
        torch.rand(share.first, batch.time_valid.shape[1] * encoder.n_patches(batch), generator=generator)


class Distillation(Objective):
    """Eq. 1: reconstruction and alignment."""

    network: Student

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Weigh both terms; a scalar."""
        reconstruction, alignment = self.network(batch, _targets(batch))
        config = self.network.config
        return config.reconstruction_weight * reconstruction + config.alignment_weight * alignment


class Rebuilding(Objective):
    """The first term of Eq. 1 alone, for a field without spikes."""

    network: Student

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Score the field that is rebuilt from its representation; a scalar."""
        return self.network.rebuilding(self.network.encoder(batch), batch)


class SupervisedDistillation(Objective):
    """Eq. 3: regression and alignment."""

    network: SupervisedStudent

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Score what was done and where the teacher points; a scalar."""
        return self.network(batch, _targets(batch), batch.behavior)


class Together(nn.Module):
    """A student and a teacher that both learn."""

    def __init__(self, student: Student, teacher: Encoder) -> None:
        super().__init__()
        self.student, self.teacher = student, teacher


class JointDistillation(Objective):
    """Eq. 1 with a teacher that moves too, which the published ablation finds worse than a frozen one."""

    network: Together

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Weigh both terms to a scalar; the alignment moves both networks."""
        reconstruction, alignment = self.network.student(batch, self.network.teacher(batch).float())
        config = self.network.student.config
        return config.reconstruction_weight * reconstruction + config.alignment_weight * alignment


def _targets(batch: Batch) -> Tensor:
    if batch.targets is None:
        raise InputError("this batch holds no teacher representation. Give `targets` for every session.")
    return batch.targets


def behavior_head(dim: int, sessions: Sequence[BinnedSession]) -> BehaviorHead:
    """Return a head for the behaviour of these sessions, scaled by what was measured in their training time."""
    return BehaviorHead(dim, {session.session_id: _scale(session) for session in sessions})


def _scale(session: BinnedSession) -> Scale:
    behavior = np.asarray(session.require("behavior"), np.float64)[session.split.train]
    measured = np.isfinite(behavior)
    count = np.maximum(measured.sum(0), 1)
    center = np.where(measured, behavior, 0.0).sum(0) / count
    spread = np.sqrt(np.where(measured, np.square(behavior - center), 0.0).sum(0) / count)
    spread[spread <= 0] = np.inf  # a dimension that never changes teaches nothing
    return Scale(torch.from_numpy(center).float(), torch.from_numpy(spread).float())

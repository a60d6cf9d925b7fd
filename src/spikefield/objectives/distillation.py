"""Distillation: the student's representation of every bin points where the frozen teacher's does (method, Eq. 1).

L = 1/(n T) sum ||y - f(z_lfp)||^2  +  weight * (1 - 1/T sum_t cos(z_lfp,t , z_spike,t))

What the published method is compared with has its place here too: no first term, another target or distance, a teacher
that learns, less paired time, a shift between spikes and field, other layers of the teacher, several teachers.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from spikefield.errors import InputError
from spikefield.models.encoder import Encoder, Windows
from spikefield.objectives.alignment import ALIGNMENTS
from spikefield.objectives.alignment import cosine as alignment_loss

TARGETS = ("representation", "rates", "spikes", "factors")


@dataclass(frozen=True)
class DistillationConfig:
    """`alignment_weight` is the paper's lambda; the published method is all other fields as they are.

    `align_to` says what the student's representation is aligned to: the teacher's, the rates that the teacher's decoder
    puts out, the smoothed spikes that go into it, or the factors of a factor analysis in the teacher's place.
    `supervised` regresses behaviour in place of reconstructing the field (Eq. 3); `teacher_learns` leaves the teacher
    to move towards the student.

    `alignments` are the distances in place of the cosine (`objectives.alignment`), their mean where there are several.
    `teacher_depths` are layers as shares of the teacher's depth, whose mean is aligned to; none is its output.
    `n_teachers` of different seeds are aligned to side by side. `lag_ms` aligns the field to the spikes so much before.
    `paired_minutes` is the training time of each session that is paired, from its start; None is all of it.
    """

    alignment_weight: float = 5.0
    reconstruction_weight: float = 1.0
    align_to: str = "representation"
    supervised: bool = False
    teacher_learns: bool = False
    alignments: tuple[str, ...] = ("cosine",)
    teacher_depths: tuple[float, ...] = ()
    n_teachers: int = 1
    lag_ms: float = 0.0
    paired_minutes: float | None = None

    def __post_init__(self) -> None:
        for name in ("alignment_weight", "reconstruction_weight"):
            if getattr(self, name) < 0:
                raise InputError(f"`{name}` must be 0 or more, got {getattr(self, name)}. Give 0 to switch it off.")
        if self.align_to not in TARGETS:
            raise InputError(
                f"`align_to` must be one of {', '.join(TARGETS)}, got {self.align_to!r}. Choose one of them."
            )
        if self.teacher_learns and (self.supervised or self.align_to != "representation"):
            raise InputError("`teacher_learns` goes with Eq. 1 and `align_to` representation only. Leave one out.")
        self._check_target()

    def _check_target(self) -> None:
        if unknown := [a for a in self.alignments if a not in ALIGNMENTS]:
            raise InputError(f"`alignments` must be of {', '.join(ALIGNMENTS)}, got {unknown[0]!r}. Name some of them.")
        if not self.alignments or ("whitened-mse" in self.alignments and len(self.alignments) > 1):
            raise InputError(
                f"`alignments` must be one or more, whitened-mse alone, got {self.alignments}. "
                "Name one, or leave out whitened-mse."
            )
        if not all(0 <= depth <= 1 for depth in self.teacher_depths):
            raise InputError(
                f"`teacher_depths` must be shares of the depth, 0 to 1, got {self.teacher_depths}. "
                "Give 1 for the last layer."
            )
        if self.n_teachers < 1:
            raise InputError(f"`n_teachers` must be 1 or more, got {self.n_teachers}. Give 1 for a single teacher.")
        if self.paired_minutes is not None and self.paired_minutes <= 0:
            raise InputError(
                f"`paired_minutes` must be above 0, or left out for all, got {self.paired_minutes}. "
                "Leave it out for all."
            )
        fixed = self.align_to != "representation" or self.teacher_learns
        if fixed and (self.teacher_depths or self.n_teachers > 1):
            raise InputError(
                "`teacher_depths` and `n_teachers` need `align_to` representation and a frozen teacher. "
                "Leave out the one or the other."
            )
        if self.teacher_learns and (self.lag_ms or "whitened-mse" in self.alignments):
            raise InputError("`teacher_learns` goes with neither `lag_ms` nor whitened-mse. Leave one out.")


class Student(nn.Module):
    """An encoder of the field potential, a linear map back to its channels, and one to the teacher's width."""

    def __init__(self, encoder: Encoder, config: DistillationConfig, *, n_channels: int, teacher_dim: int) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.teacher_dim = teacher_dim
        dim = encoder.config.transformer.dim
        self.reconstruct = nn.Linear(dim, n_channels)
        same = dim == teacher_dim and "whitened-mse" not in config.alignments
        self.to_teacher = nn.Identity() if same else nn.Linear(dim, teacher_dim, bias=False)

    def forward(
        self, windows: Windows, targets: Float[Tensor, "batch time teacher_dim"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Return (reconstruction, alignment), each a scalar; the loss adds `alignment_weight` times the second."""
        z = self.encoder(windows)
        return self.rebuilding(z, windows), self.alignment(z, targets, windows)

    def rebuilding(self, z: Float[Tensor, "batch time dim"], windows: Windows) -> Float[Tensor, ""]:
        """Return how far the field is from what representations (batch, time, dim) say of it, a scalar.

        Raises:
            InputError: the batch holds no field potential.
        """
        if windows.lfp is None or windows.channel_valid is None:
            raise InputError(
                "this batch holds no lfp, which the student reads. Give sessions that hold a field potential."
            )
        present = windows.time_valid[..., None] & windows.channel_valid[:, None]
        rebuilt = self.reconstruct(z)[..., : windows.lfp.shape[-1]]
        return reconstruction_loss(rebuilt.float(), windows.lfp, present)

    def alignment(
        self, z: Float[Tensor, "batch time dim"], targets: Float[Tensor, "batch time teacher_dim"], windows: Windows
    ) -> Float[Tensor, ""]:
        """Return how far z (batch, time, dim) is from the teacher's, the mean of the distances asked for: a scalar."""
        mapped = self.to_teacher(z).float()
        each = [ALIGNMENTS[name](mapped, targets, windows.time_valid) for name in self.config.alignments]
        return torch.stack(each).mean()


def reconstruction_loss(
    rebuilt: Float[Tensor, "batch time channel"],
    lfp: Float[Tensor, "batch time channel"],
    present: Bool[Tensor, "batch time channel"],
) -> Float[Tensor, ""]:
    """Squared error of the field (batch, time, channel), averaged over real bins and channels: a scalar."""
    error = functional.mse_loss(rebuilt, lfp, reduction="none")
    return error.masked_fill(~present, 0.0).sum() / present.sum().clamp(min=1)


__all__ = ["TARGETS", "DistillationConfig", "Student", "alignment_loss", "reconstruction_loss"]

"""Distillation: the student's representation of every bin points where the frozen teacher's does (method, Eq. 1).

L = 1/(n T) sum ||y - f(z_lfp)||^2  +  weight * (1 - 1/T sum_t cos(z_lfp,t , z_spike,t))

What the published method is compared with has its place here too: no first term, another target, a teacher that learns.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from spikefield.errors import InputError
from spikefield.models.encoder import Encoder, Windows

TARGETS = ("representation", "rates", "spikes", "factors")


@dataclass(frozen=True)
class DistillationConfig:
    """`alignment_weight` is the paper's lambda; the published method is all other fields as they are.

    `align_to` says what the student's representation is aligned to: the teacher's, the rates that the teacher's decoder
    puts out, the smoothed spikes that go into it, or the factors of a factor analysis in the teacher's place.
    `supervised` regresses behaviour in place of reconstructing the field (Eq. 3); `teacher_learns` leaves the teacher
    to move towards the student.
    """

    alignment_weight: float = 5.0
    reconstruction_weight: float = 1.0
    align_to: str = "representation"
    supervised: bool = False
    teacher_learns: bool = False

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


class Student(nn.Module):
    """An encoder of the field potential, a linear map back to its channels, and one to the teacher's width."""

    def __init__(self, encoder: Encoder, config: DistillationConfig, *, n_channels: int, teacher_dim: int) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.teacher_dim = teacher_dim
        dim = encoder.config.transformer.dim
        self.reconstruct = nn.Linear(dim, n_channels)
        self.to_teacher = nn.Identity() if dim == teacher_dim else nn.Linear(dim, teacher_dim, bias=False)

    def forward(
        self, windows: Windows, targets: Float[Tensor, "batch time teacher_dim"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Return (reconstruction, alignment); the loss is their sum with `alignment_weight` on the second.

        Raises:
            InputError: the batch holds no field potential.
        """
        z = self.encoder(windows)
        if windows.lfp is None or windows.channel_valid is None:
            raise InputError(
                "this batch holds no lfp, which the student reads. Give sessions that hold a field potential."
            )
        n_channels = windows.lfp.shape[-1]
        present = windows.time_valid[..., None] & windows.channel_valid[:, None]
        rebuilt = self.reconstruct(z)[..., :n_channels]
        return (
            reconstruction_loss(rebuilt.float(), windows.lfp, present),
            alignment_loss(self.to_teacher(z).float(), targets, windows.time_valid),
        )


def reconstruction_loss(
    rebuilt: Float[Tensor, "batch time channel"],
    lfp: Float[Tensor, "batch time channel"],
    present: Bool[Tensor, "batch time channel"],
) -> Float[Tensor, ""]:
    """Squared error of the field potential, averaged over real bins and channels."""
    error = functional.mse_loss(rebuilt, lfp, reduction="none")
    return error.masked_fill(~present, 0.0).sum() / present.sum().clamp(min=1)


def alignment_loss(
    student: Float[Tensor, "batch time dim"],
    teacher: Float[Tensor, "batch time dim"],
    time_valid: Bool[Tensor, "batch time"],
) -> Float[Tensor, ""]:
    """One minus the cosine between student and teacher, averaged over real bins."""
    distance = 1 - functional.cosine_similarity(student, teacher, dim=-1)
    return torch.where(time_valid, distance, 0.0).sum() / time_valid.sum().clamp(min=1)

"""What it costs that the student does not point where the teacher does: the paper's cosine, and its alternatives.

student's and teacher's vectors of a batch of windows -> one number, 0 where they agree, about 1 where nothing is shared

cosine         one minus the cosine of each bin                               (method, Eq. 1)
cka            one minus linear CKA over the bins of the batch                the geometry, free to rotate
contrastive    each bin's partner told apart from all other bins (InfoNCE)    over the logarithm of their number
whitened-mse   squared error to a target of unit covariance                   every dimension counts alike
relational     squared error of the cosines between bins                      over the spread of the teacher's

Where bins are compared with each other, at most 2048 of a batch are, evenly spread.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

_MOST_BINS = 2048
_TEMPERATURE = 0.1
_TINY = 1e-12


def cosine(
    student: Float[Tensor, "batch time dim"],
    teacher: Float[Tensor, "batch time dim"],
    time_valid: Bool[Tensor, "batch time"],
) -> Float[Tensor, ""]:
    """One minus the cosine between student and teacher (batch, time, dim), averaged over real bins: a scalar."""
    distance = 1 - functional.cosine_similarity(student, teacher, dim=-1)
    return torch.where(time_valid, distance, 0.0).sum() / time_valid.sum().clamp(min=1)


def cka(
    student: Float[Tensor, "batch time dim"],
    teacher: Float[Tensor, "batch time dim"],
    time_valid: Bool[Tensor, "batch time"],
) -> Float[Tensor, ""]:
    """One minus ‖YᵀX‖² / (‖XᵀX‖ ‖YᵀY‖) of the real bins of (batch, time, dim), centred over the batch: a scalar."""
    x, y = (z[time_valid] - z[time_valid].mean(0) for z in (student, teacher))
    norms = (x.T @ x).norm() * (y.T @ y).norm()
    return 1 - (y.T @ x).square().sum() / norms.clamp(min=_TINY)


def contrastive(
    student: Float[Tensor, "batch time dim"],
    teacher: Float[Tensor, "batch time dim"],
    time_valid: Bool[Tensor, "batch time"],
) -> Float[Tensor, ""]:
    """Cross-entropy of finding a bin's partner by cosine / 0.1, both ways, over the log of their number: a scalar."""
    x, y = _unit_bins(student, teacher, time_valid)
    own = torch.arange(len(x), device=x.device)
    similarity = x @ y.T / _TEMPERATURE
    both = functional.cross_entropy(similarity, own) + functional.cross_entropy(similarity.T, own)
    return both / (2 * math.log(max(len(x), 2)))


def whitened_mse(
    student: Float[Tensor, "batch time dim"],
    teacher: Float[Tensor, "batch time dim"],
    time_valid: Bool[Tensor, "batch time"],
) -> Float[Tensor, ""]:
    """Squared error to the teacher's vectors, which come whitened, averaged over real bins and dims: a scalar."""
    return functional.mse_loss(student[time_valid], teacher[time_valid])


def relational(
    student: Float[Tensor, "batch time dim"],
    teacher: Float[Tensor, "batch time dim"],
    time_valid: Bool[Tensor, "batch time"],
) -> Float[Tensor, ""]:
    """Squared error of the cosine of every two real bins, over the spread of the teacher's cosines: a scalar."""
    x, y = _unit_bins(student, teacher, time_valid)
    wanted = y @ y.T
    return (x @ x.T - wanted).square().mean() / wanted.var(correction=0).clamp(min=_TINY)


def _unit_bins(student: Tensor, teacher: Tensor, time_valid: Tensor) -> tuple[Tensor, Tensor]:
    """Return the same real bins of both, at unit length."""
    bins = time_valid.flatten().nonzero()[:, 0]
    if len(bins) > _MOST_BINS:
        spread = torch.linspace(0, len(bins) - 1, _MOST_BINS, device=bins.device)
        bins = bins[spread.round().long()]
    x, y = (functional.normalize(z.flatten(0, 1)[bins], dim=-1) for z in (student, teacher))
    return x, y


ALIGNMENTS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "cosine": cosine,
    "cka": cka,
    "contrastive": contrastive,
    "whitened-mse": whitened_mse,
    "relational": relational,
}

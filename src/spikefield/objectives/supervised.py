"""The supervised regime: behaviour of training time is regressed from z_t while the network learns (method, Eq. 3).

Teacher and baselines: masked autoencoding + regression. Student: regression in place of reconstruction,

    L = 1/(n_b T) sum ||b - g(z_t)||^2  +  weight * (1 - 1/T sum_t cos(z_lfp,t , z_spike,t))

The map g, linear and one a session, serves training only: scores come from the readout that every model gets.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikefield.errors import InputError
from spikefield.models.encoder import Windows
from spikefield.objectives.autoencoding import MaskedAutoencoder
from spikefield.objectives.distillation import Student


class Scale(NamedTuple):
    """Mean and standard deviation of each behaviour dimension (behavior,) in training time, in its own unit."""

    center: Float[Tensor, "behavior"]
    spread: Float[Tensor, "behavior"]


class BehaviorHead(nn.Module):
    """A linear map for each session from z_t to its standardised behaviour, and the error of it."""

    def __init__(self, dim: int, scales: dict[str, Scale]) -> None:
        super().__init__()
        self.rows = {session_id: row for row, session_id in enumerate(scales)}
        self.n_dims = max(len(scale.center) for scale in scales.values())
        self.read = nn.Linear(dim, len(scales) * self.n_dims)
        table = torch.full((2, len(scales), self.n_dims), torch.nan)  # a session of fewer dimensions keeps NaN
        for row, scale in enumerate(scales.values()):
            table[0, row, : len(scale.center)], table[1, row, : len(scale.center)] = scale
        self.scales: Tensor
        self.register_buffer("scales", table)

    def forward(
        self, z: Float[Tensor, "batch time dim"], behavior: Tensor | None, windows: Windows
    ) -> Float[Tensor, ""]:
        """Return the squared error of standardised behaviour (batch, time, dim), averaged over what was measured.

        Raises:
            InputError: the batch holds no behaviour.
        """
        if behavior is None:
            raise InputError(
                "this batch holds no behavior, which the supervised regime learns from. Give sessions that hold it."
            )
        row = torch.tensor([self.rows[s] for s in windows.session_ids], device=z.device)
        predicted = self.read(z).unflatten(-1, (-1, self.n_dims))
        own = predicted[torch.arange(len(row), device=z.device), :, row][..., : behavior.shape[-1]]
        center, spread = (part[row][:, None, : behavior.shape[-1]] for part in self.scales)
        wanted = (behavior - center) / spread
        measured = wanted.isfinite() & windows.time_valid[..., None]
        error = (own.float() - torch.where(measured, wanted, 0.0)).square().masked_fill(~measured, 0.0)
        return error.sum() / measured.sum().clamp(min=1)


class SupervisedAutoencoder(nn.Module):
    """Masked autoencoding, and regression from the representation of all tokens."""

    def __init__(self, network: MaskedAutoencoder, head: BehaviorHead) -> None:
        super().__init__()
        self.network, self.head = network, head

    def forward(
        self, windows: Windows, behavior: Tensor | None, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, ""]:
        """Return the sum of both losses, a scalar; behaviour is (batch, time, dim)."""
        z = self.network.encoder(windows)
        return self.network(windows, generator=generator) + self.head(z, behavior, windows)


class SupervisedStudent(nn.Module):
    """Eq. 3: regression and alignment."""

    def __init__(self, network: Student, head: BehaviorHead) -> None:
        super().__init__()
        self.network, self.head = network, head

    def forward(
        self, windows: Windows, targets: Float[Tensor, "batch time teacher_dim"], behavior: Tensor | None
    ) -> Float[Tensor, ""]:
        """Return the loss of one batch, a scalar; behaviour is (batch, time, dim)."""
        z = self.network.encoder(windows)
        alignment = self.network.alignment(z, targets, windows)
        return self.head(z, behavior, windows) + self.network.config.alignment_weight * alignment

"""A small bidirectional GRU from channels to behaviour: the recurrent decoder that a lab would train from scratch."""

import numpy as np
import torch
from jaxtyping import Float, Num
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from spikefield.evaluation.lags import Stretches, bins_of
from spikefield.evaluation.tuning import Predict
from spikefield.signals.standardize import Standardizer

_HIDDEN = 64
_BATCH_WINDOWS = 8
_PEAK_RATE = 5e-3


class Recurrent(nn.Module):
    """Channels of every bin -> behaviour of every bin, from the whole window."""

    def __init__(self, n_channels: int, n_dims: int, *, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.gru = nn.GRU(n_channels, _HIDDEN, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * _HIDDEN, n_dims)

    def forward(self, channels: Float[Tensor, "batch time channel"]) -> Float[Tensor, "batch time dim"]:
        """Decode windows (batch, time, channel) to standardised behaviour (batch, time, dim)."""
        return self.head(self.dropout(self.gru(self.dropout(channels))[0]))


def fit_gru(
    channels: Num[np.ndarray, "bin channel"],
    behavior: Float[np.ndarray, "bin dim"],
    stretches: Stretches,
    *,
    window_bins: int,
    dropout: float,
    n_steps: int,
    seed: int,
) -> Predict:
    """Train on random windows of (bin, channel) and (bin, dim) with AdamW and a rate that falls to zero."""
    within = np.zeros(len(channels), bool)
    within[bins_of(stretches)] = True
    scales = _scales(channels, within), _scales(behavior, within)
    inputs, targets = (
        torch.from_numpy(scale.apply(values.astype(np.float64))).float()
        for scale, values in zip(scales, (channels, behavior), strict=True)
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Recurrent(inputs.shape[1], targets.shape[1], dropout=dropout)
        _train(network, inputs, targets, stretches, window_bins=window_bins, n_steps=n_steps)

    def predict(stretches: Stretches) -> Float[np.ndarray, "bin dim"]:
        with torch.inference_mode():
            decoded = torch.cat([network(inputs[None, start:end])[0] for start, end in stretches])
        return scales[1].invert(decoded.double().numpy())

    return predict


def _scales(values: np.ndarray, within: np.ndarray) -> Standardizer:
    """Fit center and scale on the training bins; a column that never changes in them keeps its scale."""
    with np.errstate(invalid="ignore"):
        center, scale = np.nanmean(values[within], axis=0), np.nanstd(values[within], axis=0)
    return Standardizer(center.astype(np.float64), np.where(scale > 0, scale, 1.0).astype(np.float64))


def _train(
    network: Recurrent, inputs: Tensor, targets: Tensor, stretches: Stretches, *, window_bins: int, n_steps: int
) -> None:
    optimizer = torch.optim.AdamW(network.parameters(), lr=_PEAK_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
    lengths = torch.tensor([end - start for start, end in stretches], dtype=torch.float64)
    network.train()
    for _ in range(n_steps):
        chosen = [stretches[i] for i in torch.multinomial(lengths, _BATCH_WINDOWS, replacement=True).tolist()]
        firsts = [start + int(torch.randint(max(1, end - start - window_bins + 1), ())) for start, end in chosen]
        windows = [(f, min(f + window_bins, end)) for f, (_, end) in zip(firsts, chosen, strict=True)]
        batch = pad_sequence([inputs[start:end] for start, end in windows], batch_first=True)
        true = pad_sequence([targets[start:end] for start, end in windows], batch_first=True, padding_value=torch.nan)
        measured = torch.isfinite(true)
        if not measured.any():
            continue
        loss = functional.mse_loss(network(batch)[measured], true[measured])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    network.eval()

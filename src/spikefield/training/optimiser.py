"""AdamW with warm-up and decay: how every stage's weights move (method, section 6)."""

import math
from dataclasses import dataclass, replace

import torch
from torch import nn

from spikefield.errors import InputError

SCHEDULES = ("cosine", "exponential")


@dataclass(frozen=True)
class OptimiserConfig:
    """Length and pace of one training run. The learning rate is stepped every batch.

    `cosine` falls to zero over the run, for short runs, and its last weights are kept; `exponential` falls by 0.995 an
    epoch, as published, and the weights of the lowest validation loss are kept. Where
    `epochs` come to fewer than `min_steps`, since recordings are short, all lengths counted in epochs are stretched.
    """

    epochs: int = 40
    min_steps: int = 0
    batch_windows: int = 8
    peak_learning_rate: float = 2e-3
    warmup_epochs: float = 2.0
    schedule: str = "cosine"
    weight_decay: float = 0.1
    patience_epochs: int = 50

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise InputError(f"`schedule` must be one of {SCHEDULES}, got {self.schedule!r}. Choose one of them.")
        for name in ("epochs", "batch_windows", "peak_learning_rate", "patience_epochs"):
            if getattr(self, name) <= 0:
                raise InputError(f"`{name}` must be positive, got {getattr(self, name)}. Leave it out for the default.")
        if self.min_steps < 0:
            raise InputError(f"`min_steps` must be 0 or more, got {self.min_steps}. Give 0 for no minimum.")
        if self.warmup_epochs < 0 or self.weight_decay < 0:
            raise InputError(
                f"`warmup_epochs` and `weight_decay` must be 0 or more, got {self.warmup_epochs}, {self.weight_decay}. "
                "Give 0 to switch one off."
            )


def stretched(config: OptimiserConfig, *, steps_per_epoch: int) -> OptimiserConfig:
    """Return the configuration with enough epochs for `min_steps`, warm-up and patience in proportion."""
    epochs = max(config.epochs, math.ceil(config.min_steps / steps_per_epoch))
    factor = epochs / config.epochs
    return replace(
        config,
        epochs=epochs,
        warmup_epochs=config.warmup_epochs * factor,
        patience_epochs=math.ceil(config.patience_epochs * factor),
    )


_WARMUP_START = 0.3
_EXPONENTIAL_DECAY = 0.995


def learning_rate_factor(config: OptimiserConfig, *, epoch: float) -> float:
    """Return the share of the peak learning rate at a point of the run, counted in epochs."""
    if epoch < config.warmup_epochs:
        return _WARMUP_START + (1 - _WARMUP_START) * epoch / config.warmup_epochs
    if config.schedule == "exponential":
        return _EXPONENTIAL_DECAY ** (epoch - config.warmup_epochs)
    progress = (epoch - config.warmup_epochs) / max(config.epochs - config.warmup_epochs, 1e-9)
    return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


def build_optimiser(network: nn.Module, config: OptimiserConfig) -> torch.optim.AdamW:
    """Make AdamW; weight decay acts on the matrices of linear maps and convolutions only."""
    decayed = {id(module.weight) for module in network.modules() if isinstance(module, nn.Linear | nn.Conv1d)}
    trainable = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if id(p) in decayed], "weight_decay": config.weight_decay},
        {"params": [p for p in trainable if id(p) not in decayed], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [g for g in groups if g["params"]], lr=config.peak_learning_rate, betas=(0.9, 0.95), fused=True
    )

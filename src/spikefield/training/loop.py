"""Lightning's loop around one objective: batches in, the best weights by validation loss out."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from spikefield.errors import InputError
from spikefield.training.optimiser import OptimiserConfig, build_optimiser, learning_rate_factor, stretched
from spikefield.windows.batches import Batch, WindowDataset, WindowSampler, collate, sequential_windows
from spikefield.windows.binned import BinnedSession

_VALIDATION_SEED = 1234
_CLIP_NORM = 1.0
ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
PRECISIONS = ("32-true", "bf16-mixed")


@dataclass(frozen=True)
class HardwareConfig:
    """Where a stage runs, in Lightning's words."""

    accelerator: str = "auto"
    devices: int = 1
    num_nodes: int = 1
    precision: str = "32-true"

    def __post_init__(self) -> None:
        for name, allowed in (("accelerator", ACCELERATORS), ("precision", PRECISIONS)):
            if getattr(self, name) not in allowed:
                raise InputError(f"`{name}` must be one of {', '.join(allowed)}, got {getattr(self, name)!r}.")
        if self.devices < 1 or self.num_nodes < 1:
            raise InputError(f"`devices` and `num_nodes` must be 1 or more, got {self.devices} and {self.num_nodes}.")


@dataclass(frozen=True)
class EpochRecord:
    """One row of a training curve."""

    epoch: int
    train_loss: float
    valid_loss: float


class Objective(lightning.LightningModule, ABC):
    """A network and its loss. Subclasses say what one batch costs."""

    def __init__(self, network: nn.Module, config: OptimiserConfig, *, seed: int) -> None:
        super().__init__()
        self.network = network
        self.config = config
        self.generator = torch.Generator().manual_seed(seed)

    @abstractmethod
    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Return the loss of a batch; randomness comes from `generator` alone."""

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """One step of the optimiser."""
        value = self.loss(batch, self.generator)
        self.log("train_loss", value, on_step=False, on_epoch=True, batch_size=len(batch.session_ids), sync_dist=True)
        return value

    def on_validation_epoch_start(self) -> None:
        """Hide the same tokens in every validation."""
        self._validation_generator = torch.Generator().manual_seed(_VALIDATION_SEED)

    def validation_step(self, batch: Batch, index: int) -> None:
        """Score held-out time."""
        value = self.loss(batch, self._validation_generator)
        self.log("valid_loss", value, batch_size=len(batch.session_ids), sync_dist=True)

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        """Clip here, since Lightning refuses to clip for a fused optimiser in mixed precision."""
        nn.utils.clip_grad_norm_(self.network.parameters(), _CLIP_NORM)

    def configure_optimizers(self) -> Any:
        """Give Lightning the optimiser and its schedule, stepped every batch."""
        optimiser = build_optimiser(self.network, self.config)
        steps_per_epoch = max(int(self.trainer.estimated_stepping_batches) // self.config.epochs, 1)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: learning_rate_factor(self.config, epoch=step / steps_per_epoch)
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class _Record(Callback):
    """Keep the training curve and a copy of the best weights; show one bar with the time left."""

    def __init__(self, network: nn.Module, label: str, n_epochs: int, *, progress: bool) -> None:
        self.network = network
        self.curve: list[EpochRecord] = []
        self.best: dict[str, Tensor] | None = None
        self.best_loss = float("inf")
        self.bar = tqdm(total=n_epochs, desc=label, unit="epoch", disable=None if progress else True)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        train, valid = (float(trainer.callback_metrics[f"{k}_loss"]) for k in ("train", "valid"))
        self.curve.append(EpochRecord(trainer.current_epoch, train, valid))
        self.bar.set_postfix(train=f"{train:.4f}", valid=f"{valid:.4f}")
        self.bar.update()
        if valid < self.best_loss:
            self.best_loss = valid
            self.best = {k: v.detach().cpu().clone() for k, v in self.network.state_dict().items()}

    def on_fit_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.bar.close()


def loaders(
    sessions: Sequence[BinnedSession],
    *,
    modalities: tuple[str, ...],
    window_bins: int,
    batch_windows: int,
    seed: int,
    targets: dict[str, Any] | None = None,
) -> tuple[DataLoader, DataLoader]:
    """Return batches of random training windows and of fixed validation windows.

    Raises:
        InputError: no stretch of training or validation time is long enough, or a session lacks a modality.
    """
    dataset = WindowDataset(sessions, modalities=modalities, targets=targets)
    generator = torch.Generator().manual_seed(seed)
    sampler = WindowSampler(sessions, kind="train", window_bins=window_bins, generator=generator)
    train = DataLoader(dataset, batch_size=batch_windows, sampler=sampler, collate_fn=collate)
    fixed = sequential_windows(sessions, kind="valid", window_bins=window_bins)
    if not fixed:
        raise InputError("no stretch of valid time is long enough for a window. Bring longer recordings or trials.")
    valid = DataLoader(dataset, batch_size=batch_windows, sampler=fixed, collate_fn=collate)
    return train, valid


def fit(
    objective: Objective,
    *,
    train: DataLoader,
    valid: DataLoader,
    hardware: HardwareConfig,
    label: str,
    progress: bool,
) -> list[EpochRecord]:
    """Train until the last epoch or until patience runs out; leave the best weights in the network.

    Raises:
        InputError: the validation loss was never finite, or the accelerator is not there.
    """
    _check_there(hardware)
    objective.network.train()  # Lightning keeps the mode of a network that was loaded for inference
    objective.config = stretched(objective.config, steps_per_epoch=len(train))
    record = _Record(objective.network, label, objective.config.epochs, progress=progress)
    trainer = lightning.Trainer(
        accelerator=hardware.accelerator,
        devices=hardware.devices,
        num_nodes=hardware.num_nodes,
        precision=hardware.precision,  # pyright: ignore[reportArgumentType]
        max_epochs=objective.config.epochs,
        callbacks=[record, EarlyStopping("valid_loss", patience=objective.config.patience_epochs)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(objective, train, valid)
    if record.best is None:
        raise InputError(
            f"{label}: the validation loss was never finite. Lower `peak_learning_rate`, or check the data's scale."
        )
    objective.network.load_state_dict(record.best)
    objective.network.cpu().eval()
    return record.curve


def _check_there(hardware: HardwareConfig) -> None:
    there = {"gpu": torch.cuda.is_available() or torch.backends.mps.is_available()}
    there |= {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(hardware.accelerator, True):
        raise InputError(
            f"`accelerator` {hardware.accelerator!r} is not on this machine. Use auto or cpu, or install its PyTorch."
        )

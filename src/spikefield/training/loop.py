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

from spikefield.training.optimiser import OptimiserConfig, build_optimiser, learning_rate_factor
from spikefield.windows.batches import Batch, WindowDataset, WindowSampler, collate, sequential_windows
from spikefield.windows.binned import BinnedSession

_VALIDATION_SEED = 1234
_CLIP_NORM = 1.0


@dataclass(frozen=True)
class HardwareConfig:
    """Where a stage runs, in Lightning's words."""

    accelerator: str = "auto"
    devices: int = 1
    num_nodes: int = 1
    precision: str = "32-true"


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
    """Return batches of random training windows and of fixed validation windows."""
    dataset = WindowDataset(sessions, modalities=modalities, targets=targets)
    generator = torch.Generator().manual_seed(seed)
    sampler = WindowSampler(sessions, kind="train", window_bins=window_bins, generator=generator)
    train = DataLoader(dataset, batch_size=batch_windows, sampler=sampler, collate_fn=collate)
    fixed = sequential_windows(sessions, kind="valid", window_bins=window_bins)
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
    """Train until the last epoch or until patience runs out; leave the best weights in the network."""
    record = _Record(objective.network, label, objective.config.epochs, progress=progress)
    trainer = lightning.Trainer(
        accelerator=hardware.accelerator,
        devices=hardware.devices,
        num_nodes=hardware.num_nodes,
        precision=hardware.precision,  # pyright: ignore[reportArgumentType]
        max_epochs=objective.config.epochs,
        gradient_clip_val=_CLIP_NORM,
        callbacks=[record, EarlyStopping("valid_loss", patience=objective.config.patience_epochs)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(objective, train, valid)
    assert record.best is not None
    objective.network.load_state_dict(record.best)
    objective.network.cpu().eval()
    return record.curve

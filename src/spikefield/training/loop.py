"""Lightning's loop around one objective: batches in, trained weights out.

A run whose learning rate falls to zero leaves its last weights; one that ends otherwise those of the lowest validation
loss.
"""

import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch_brain.datasets import DatasetIndex

from spikefield.errors import InputError
from spikefield.training.optimiser import OptimiserConfig, build_optimiser, learning_rate_factor, stretched
from spikefield.training.progress import EpochRecord, Leave, Progress, Stopped, signals_given_back
from spikefield.windows.batches import Batch, WindowDataset, WindowSampler, collate, sequential_windows
from spikefield.windows.binned import BinnedSession
from spikefield.windows.shares import Share, WindowBatches, mixed_seed

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
                raise InputError(
                    f"`{name}` must be one of {', '.join(allowed)}, got {getattr(self, name)!r}. Choose one of them."
                )
        if self.devices < 1 or self.num_nodes < 1:
            raise InputError(
                f"`devices` and `num_nodes` must be 1 or more, got {self.devices} and {self.num_nodes}. "
                "Leave them out for one device."
            )


class Objective(lightning.LightningModule, ABC):
    """A network and its loss. Subclasses say what one batch costs.

    Seed, step and process alone decide what is random in a step, and the step decides the learning rate.
    """

    def __init__(self, network: nn.Module, config: OptimiserConfig, *, seed: int) -> None:
        super().__init__()
        self.network = network
        self.config = config
        self.seed = seed
        self.generator = torch.Generator()
        self.steps_per_epoch = 1
        self.epoch = 0
        self.share = Share(0, 1, 1)
        self._sums: dict[str, Tensor] = {}

    @abstractmethod
    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Return the loss of a batch, a scalar, the rows `self.share`; randomness comes from `generator` alone."""

    def on_train_epoch_start(self) -> None:
        """Start the mean of the training loss, unless an interrupted epoch goes on."""
        self._sums.setdefault("train", torch.zeros(2, device=self.device))

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set the learning rate and all randomness of a step."""
        step = self.epoch * self.steps_per_epoch + batch_idx
        factor = learning_rate_factor(self.config, epoch=step / self.steps_per_epoch)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self.config.peak_learning_rate * factor
        torch.manual_seed(mixed_seed(self.seed, step, self.global_rank))
        self.generator.manual_seed(mixed_seed(self.seed, step))

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Return the weighted loss of one step of the optimiser, a scalar."""
        self.share = self._share(self.trainer.train_dataloader, batch, index)
        value = self.loss(batch, self.generator)
        return value * self._weigh("train", value)

    def on_validation_epoch_start(self) -> None:
        """Start the mean of the validation loss."""
        self._sums["valid"] = torch.zeros(2, device=self.device)

    def validation_step(self, batch: Batch, index: int) -> None:
        """Score held-out time, with the same tokens hidden in every validation."""
        self.share = self._share(self.trainer.val_dataloaders, batch, index)
        self._weigh("valid", self.loss(batch, torch.Generator().manual_seed(mixed_seed(_VALIDATION_SEED, index))))

    def sums(self, kind: str) -> list[list[float]]:
        """Return [sum of losses, number of windows] of this epoch so far, of each process."""
        sums = self._sums.get(kind, torch.zeros(2, device=self.device))
        gathered = self.trainer.strategy.all_gather(sums.clone())
        return [[float(v) for v in row] for row in gathered.reshape(-1, 2)]

    def set_sums(self, kind: str, sums: list[list[float]]) -> None:
        """Go on with the sums of an interrupted epoch; if other processes made them, the first one takes them all."""
        if len(sums) != self.trainer.world_size:
            sums = [[sum(column) for column in zip(*sums, strict=True)], *[[0.0, 0.0]] * (self.trainer.world_size - 1)]
        self._sums[kind] = torch.tensor(sums[self.trainer.global_rank], device=self.device)

    def mean_loss(self, kind: str) -> float:
        """Return the mean loss of the epoch's windows, and forget it."""
        total, n_windows = (sum(column) for column in zip(*self.sums(kind), strict=True))
        del self._sums[kind]
        return total / n_windows

    def _weigh(self, kind: str, value: Tensor) -> float:
        """Add a loss to its mean; return the weight that makes the processes' mean that of the global batch."""
        self._sums[kind] += torch.stack([value.detach().float(), value.new_ones(()).float()]) * self.share.count
        return self.share.count * self.trainer.world_size / self.share.total

    def _share(self, loader: Any, batch: Batch, index: int) -> Share:
        n_windows = len(batch.session_ids)
        if isinstance(loader, DataLoader) and isinstance(loader.batch_sampler, WindowBatches):
            return loader.batch_sampler.share_at(index)
        return Share(0, n_windows, n_windows)

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        """Clip here, since Lightning refuses to clip for a fused optimiser in mixed precision."""
        nn.utils.clip_grad_norm_(self.network.parameters(), _CLIP_NORM)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Give Lightning the optimiser; every step sets its own learning rate."""
        return build_optimiser(self.network, self.config)


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
    fixed = sequential_windows(sessions, kind="valid", window_bins=window_bins)
    if not fixed:
        raise InputError("no stretch of valid time is long enough for a window. Bring longer recordings or trials.")
    return _loader(dataset, sampler, batch_windows), _loader(dataset, fixed, batch_windows)


def _loader(dataset: WindowDataset, windows: WindowSampler | Sequence[DatasetIndex], batch_windows: int) -> DataLoader:
    """Make a loader that leaves PyTorch's own generator alone and passes over what was learned before."""
    return DataLoader(
        dataset,
        batch_sampler=WindowBatches(windows, batch_windows=batch_windows),
        collate_fn=lambda items: collate(items) if items else None,
        generator=torch.Generator(),
    )


def fit(
    objective: Objective,
    *,
    train: DataLoader,
    valid: DataLoader,
    hardware: HardwareConfig,
    label: str,
    progress: bool,
    checkpoints: Path | None = None,
) -> list[EpochRecord]:
    """Train until the last epoch or until patience runs out; leave the weights to keep in the network.

    Where `checkpoints` names a folder, the run goes on from the state that is kept there, and keeps its own there.

    Raises:
        InputError: the validation loss was never finite, or the accelerator is not there.
        Stopped: SIGTERM or Ctrl-C came; the state was kept.
    """
    _check_there(hardware)
    objective.network.train()  # Lightning keeps the mode of a network that was loaded for inference
    objective.config = stretched(objective.config, steps_per_epoch=len(train))
    objective.steps_per_epoch = len(train)
    batches = train.batch_sampler if isinstance(train.batch_sampler, WindowBatches) else None
    reached = Progress(objective, batches, folder=checkpoints, label=label, progress=progress)
    if not reached.finished:
        _run(objective, train, valid, hardware, reached)
    if not reached.kept:
        raise InputError(
            f"{label}: the validation loss was never finite. Lower `peak_learning_rate`, or check the data's scale."
        )
    objective.network.load_state_dict(reached.kept)
    objective.network.cpu().eval()
    return reached.curve


def _run(
    objective: Objective, train: DataLoader, valid: DataLoader, hardware: HardwareConfig, reached: Progress
) -> None:
    trainer = lightning.Trainer(
        accelerator=hardware.accelerator,
        devices=hardware.devices,
        num_nodes=hardware.num_nodes,
        precision=hardware.precision,  # pyright: ignore[reportArgumentType]
        max_epochs=objective.config.epochs - reached.epoch,
        callbacks=[reached],
        use_distributed_sampler=False,  # ours share out their batches themselves
        default_root_dir=os.devnull,  # on SLURM Lightning would unpickle the `hpc_ckpt_*.ckpt` of a folder
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    for loader in (train, valid):
        if isinstance(loader.batch_sampler, WindowBatches):
            loader.batch_sampler.share(trainer.global_rank, trainer.world_size)
    try:
        with signals_given_back():
            trainer.fit(objective, train, valid)
    except Leave:
        raise Stopped(reached.signal or signal.SIGTERM) from None


def _check_there(hardware: HardwareConfig) -> None:
    there = {"gpu": torch.cuda.is_available() or torch.backends.mps.is_available()}
    there |= {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(hardware.accelerator, True):
        raise InputError(
            f"`accelerator` {hardware.accelerator!r} is not on this machine. Use auto or cpu, or install its PyTorch."
        )

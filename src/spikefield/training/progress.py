"""What a run has reached: position, curve, the weights to leave, patience; kept in checkpoints and shown as one bar.

All randomness of a step follows from seed and step (`spikefield.training.loop`), and the learning rate from the step,
so that a position, the weights and the optimiser's state are all that a run needs to go on as if nothing had happened.
"""

import logging
import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import lightning
import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from tqdm.auto import tqdm

import spikefield.training.checkpoint as checkpoint
from spikefield.errors import InputError
from spikefield.training.checkpoint import Checkpoint
from spikefield.windows.shares import WindowBatches

if TYPE_CHECKING:
    from spikefield.training.loop import Objective

log = logging.getLogger("spikefield")
CHECKPOINT_EVERY_S = 60.0
_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name)]


class Stopped(KeyboardInterrupt):
    """A signal ended the run after its state was kept; `number` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Leave(Exception):
    """Takes the run out of Lightning's loop, which would exit the process on a `KeyboardInterrupt`."""


@dataclass(frozen=True)
class EpochRecord:
    """One row of a training curve."""

    epoch: int
    train_loss: float
    valid_loss: float


@contextmanager
def signals_given_back() -> Iterator[None]:
    """Give signals their meaning back afterwards: Lightning's own handlers stay behind otherwise, and swallow them."""
    here = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in _SIGNALS} if here else {}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # one that was not set from Python
                signal.signal(number, handler)


class Progress(Callback):
    """Keeps what a run has reached, and takes it up again where it was interrupted."""

    def __init__(
        self, objective: "Objective", batches: WindowBatches | None, *, folder: Path | None, label: str, progress: bool
    ) -> None:
        self.objective = objective
        self.batches = batches
        self.folder = folder
        self.label = label
        self.curve: list[EpochRecord] = []
        self.kept: dict[str, Tensor] = {}
        self.epoch, self.batch = 0, 0
        self.signal: int | None = None
        self._resumed = self._load()
        self._saved_at = time.monotonic()
        n_epochs = objective.config.epochs
        shown = progress and rank_zero_only.rank == 0
        self._bar = tqdm(total=n_epochs, initial=self.epoch, desc=label, unit="epoch", disable=None if shown else True)

    @property
    def best_epoch(self) -> int | None:
        """Index of the epoch of the lowest finite validation loss."""
        finite = [(r.valid_loss, i) for i, r in enumerate(self.curve) if math.isfinite(r.valid_loss)]
        return min(finite)[1] if finite else None

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, patience has run out, or the validation loss is no longer a number."""
        config = self.objective.config
        if not self.curve or self.batch:
            return False
        since_best = len(self.curve) - 1 - (-1 if self.best_epoch is None else self.best_epoch)
        lost = not math.isfinite(self.curve[-1].valid_loss)
        return self.epoch >= config.epochs or lost or since_best >= config.patience_epochs

    def _keeps_this_epoch(self) -> bool:
        """Whether the last row of the curve is of the weights to leave in the network, as far as is known."""
        config = self.objective.config
        ended = config.schedule == "cosine" and len(self.curve) == config.epochs
        return self.best_epoch == len(self.curve) - 1 or (ended and math.isfinite(self.curve[-1].valid_loss))

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Take signals over, and go on from the checkpoint."""
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                signal.signal(number, self._on_signal)
        self._restore(trainer)

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Tell objective and batches where the run is."""
        self.objective.epoch = self.epoch
        if self.batches is not None:
            self.batches.start_epoch(self.epoch, skip=self.batch)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep a checkpoint when one is due, and leave where a signal asks for it."""
        if batch is None:  # passed over: an interrupted run had learned from it already
            return
        self.batch = batch_idx + 1
        due = time.monotonic() - self._saved_at >= CHECKPOINT_EVERY_S
        if not _any(trainer, due or self.signal is not None):
            return
        self.keep(trainer)
        if _any(trainer, self.signal is not None):
            raise Leave

    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Leave where a signal asks for it."""
        if self.signal is not None and trainer.world_size == 1:
            self.keep(trainer)
            raise Leave

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Add a row to the curve, and keep the weights that the run would leave."""
        train, valid = (self.objective.mean_loss(kind) for kind in ("train", "valid"))
        self.curve.append(EpochRecord(self.epoch, train, valid))
        self._bar.set_postfix(train=f"{train:.4f}", valid=f"{valid:.4f}")
        self._bar.update()
        if self._keeps_this_epoch():
            self.kept = {k: v.detach().cpu().clone() for k, v in self.objective.network.state_dict().items()}
        self.epoch, self.batch = self.epoch + 1, 0
        if self.finished:
            trainer.should_stop = True
            self.keep(trainer)

    def teardown(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """End the bar."""
        self._bar.close()

    def keep(self, trainer: lightning.Trainer) -> None:
        """Write a checkpoint; where the disk is full, say so and go on, since the last good one is still there.

        All processes call this in the same step, since each has sums of its own; the first one writes.
        """
        self._saved_at = time.monotonic()
        if self.folder is None:
            return
        sums = self.objective.sums("train")
        if not trainer.is_global_zero:
            return
        try:
            checkpoint.save(self.folder, self._now(trainer, sums))
        except InputError as error:
            log.warning("%s: no checkpoint was kept, training goes on: %s", self.label, error)

    def _now(self, trainer: lightning.Trainer, sums: list[list[float]]) -> Checkpoint:
        network, optimiser = self.objective.network.state_dict(), trainer.optimizers[0].state_dict()
        tensors = {f"network.{k}": v for k, v in network.items()} | {f"kept.{k}": v for k, v in self.kept.items()}
        for i, slots in optimiser["state"].items():
            tensors |= {f"optimiser.{i}.{slot}": torch.as_tensor(value) for slot, value in slots.items()}
        state = {
            "epoch": self.epoch,
            "batch": self.batch,
            "curve": [asdict(record) for record in self.curve],
            "sums": sums,
            "config": asdict(self.objective.config),
        }
        return Checkpoint(tensors, state)

    def _load(self) -> Checkpoint | None:
        found = None if self.folder is None else checkpoint.load(self.folder)
        if found is None:
            return None
        state = found.state
        try:
            if state["config"] != asdict(self.objective.config):
                raise ValueError("it was written with another length or pace of training")
            self.epoch, self.batch = int(state["epoch"]), int(state["batch"])
            self.curve = [EpochRecord(**record) for record in state["curve"]]
            self.kept = _part(found.tensors, "kept.")
            self.objective.network.load_state_dict(_part(found.tensors, "network."))
            self._sums = [[float(v) for v in row] for row in state["sums"]]
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            why = " ".join(str(error).split())[:120]
            raise InputError(f"{self.folder}: does not fit this run ({why}). Remove it to start afresh.") from error
        log.info("%s: going on after %d epochs and %d batches", self.label, self.epoch, self.batch)
        return found

    def _restore(self, trainer: lightning.Trainer) -> None:
        """Give the optimiser back what it had gathered."""
        if self._resumed is None:
            return
        optimiser = trainer.optimizers[0]
        slots: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _part(self._resumed.tensors, "optimiser.").items():
            index, _, slot = name.partition(".")
            slots.setdefault(int(index), {})[slot] = tensor
        optimiser.load_state_dict({"state": slots, "param_groups": optimiser.state_dict()["param_groups"]})
        self.objective.set_sums("train", self._sums)
        self._resumed = None

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """Stop after the step that is being made; a second Ctrl-C stops at once."""
        if self.signal is not None:
            raise Stopped(number)
        self.signal = number


def _any(trainer: lightning.Trainer, decision: bool) -> bool:
    """Tell whether any process decides so: all must leave the loop in the same step."""
    return decision if trainer.world_size == 1 else trainer.strategy.reduce_boolean_decision(decision, all=False)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

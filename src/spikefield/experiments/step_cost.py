"""What one step of training costs: the network is built in full size and makes a few steps on real windows.

Operations and what is kept for the backward pass are counted, not estimated. `planning` makes stages of it.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from spikefield.models.encoder import EncoderConfig
from spikefield.models.tokenizer import patch_count
from spikefield.objectives.autoencoding import MaskedAutoencoder
from spikefield.objectives.distillation import Student
from spikefield.training.loop import loaders
from spikefield.training.optimiser import OptimiserConfig, build_optimiser
from spikefield.windows.batches import Batch
from spikefield.windows.binned import BinnedSession

_TIMED_STEPS = 3
_MATMUL_SIZE = 1024


@dataclass(frozen=True)
class Step:
    """What one step of training costs on this machine."""

    parameters: int
    space_bytes: int
    tokens: int
    flops: float
    kernels: int
    windows: int
    seconds: float
    activation_bytes: int


def measure_step(
    network: MaskedAutoencoder | Student,
    sessions: Sequence[BinnedSession],
    *,
    window_bins: int,
    optimiser: OptimiserConfig,
    more_sessions: int = 0,
) -> Step:
    """Make a few steps of training and say what one costs; `more_sessions` have space embeddings, but no windows."""
    encoder = network.encoder
    for session in sessions:
        encoder.add_session(session.session_id, session.require(encoder.config.modality).shape[1])
    if more_sessions > 0:
        rows = more_sessions * len(encoder.space.table) // len(sessions)
        encoder.space.add_session("all the others", rows)
    batch = _batch(sessions, encoder.config, window_bins, optimiser.batch_windows, _width(network))
    moves = build_optimiser(network, optimiser)
    network.train()

    def step() -> None:
        moves.zero_grad()
        _loss(network, batch).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        moves.step()

    with FlopCounterMode(display=False, custom_mapping=_ATTENTION_ON_CPU) as counter, _Kernels() as kernels:
        step()
    kept = saved_bytes(network, lambda: _loss(network, batch))
    seconds = []
    for _ in range(_TIMED_STEPS):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return Step(
        parameters=sum(p.numel() for p in network.parameters()),
        space_bytes=16 * encoder.space.table.numel(),
        tokens=int(batch.time_valid.sum()) * _patches(batch, encoder.config),
        flops=float(counter.get_total_flops()),
        kernels=kernels.n,
        windows=len(batch.session_ids),
        seconds=float(np.median(seconds)),
        activation_bytes=kept,
    )


class _Kernels(TorchDispatchMode):
    """Counts the operations that a step consists of."""

    def __init__(self) -> None:
        super().__init__()
        self.n = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.n += not func.is_view
        return func(*args, **(kwargs or {}))


def _attention_forward(query: Any, key: Any, *_: Any, **__: Any) -> int:
    """Two products of matrices; PyTorch's counter does not know this kernel."""
    return 4 * query[0] * query[1] * query[2] * key[2] * query[3]


def _attention_backward(gradient: Any, query: Any, key: Any, *_: Any, **__: Any) -> int:
    """Five products of matrices, one of them a repetition."""
    return 10 * query[0] * query[1] * query[2] * key[2] * query[3]


_ATTENTION_ON_CPU = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_forward,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


def _width(network: MaskedAutoencoder | Student) -> int:
    return network.teacher_dim if isinstance(network, Student) else 0


def _batch(
    sessions: Sequence[BinnedSession], encoder: EncoderConfig, window_bins: int, batch_windows: int, width: int
) -> Batch:
    """Return a full batch of training windows, with made-up words of a teacher where one is needed."""
    targets = {s.session_id: np.ones((s.n_bins, width), np.float32) for s in sessions} if width else None
    train, _ = loaders(
        sessions,
        modalities=(encoder.modality,),
        window_bins=window_bins,
        batch_windows=batch_windows,
        seed=0,
        targets=targets,
    )
    return next(iter(train))


def _patches(batch: Batch, encoder: EncoderConfig) -> int:
    values = batch.counts if encoder.modality == "spikes" else batch.lfp
    assert values is not None
    return patch_count(values.shape[2], encoder.patch_size)


def _loss(network: MaskedAutoencoder | Student, batch: Batch) -> Tensor:
    if isinstance(network, MaskedAutoencoder):
        return network(batch)
    reconstruction, alignment = network(batch, batch.targets)
    return reconstruction + alignment


def saved_bytes(network: nn.Module, loss: Callable[[], Tensor]) -> int:
    """Return how many bytes a forward pass keeps for its backward pass, weights left out."""
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
    held: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        value = loss()
    total = sum(held.values())
    del value
    return total


def matmul_flops() -> float:
    """Return what this machine reaches in a large product of matrices, in operations a second."""
    a = torch.randn(_MATMUL_SIZE, _MATMUL_SIZE)
    torch.matmul(a, a)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        torch.matmul(a, a)
        seconds.append(time.perf_counter() - start)
    return 2 * _MATMUL_SIZE**3 / min(seconds)

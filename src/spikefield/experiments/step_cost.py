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


class TrainingStep:
    """One step of training, again and again on the same windows, with made-up words of a teacher where one is needed.

    In half precision (`bf16`) the products of matrices are, and nothing else, as in training.
    """

    def __init__(
        self,
        network: MaskedAutoencoder | Student,
        sessions: Sequence[BinnedSession],
        *,
        window_bins: int,
        optimiser: OptimiserConfig,
        more_sessions: int = 0,
        device: str = "cpu",
        bf16: bool = False,
    ) -> None:
        encoder = network.encoder
        for session in sessions:
            encoder.add_session(session.session_id, session.require(encoder.config.modality).shape[1])
        if more_sessions > 0:
            rows = more_sessions * len(encoder.space.table) // len(sessions)
            encoder.space.add_session("all the others", rows)
        self.network = network.to(device).train()
        batch = _batch(sessions, encoder.config, window_bins, optimiser.batch_windows, _width(network))
        self.batch: Any = batch.to(device)
        self.tokens = int(self.batch.time_valid.sum()) * encoder.n_patches(self.batch)
        self._moves = build_optimiser(network, optimiser)
        self._cast = torch.autocast(device, torch.bfloat16, enabled=bf16)

    def __call__(self) -> None:
        """Go one step: forward, backward, clip, optimiser."""
        self._moves.zero_grad()
        self.loss().backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self._moves.step()

    def loss(self) -> Tensor:
        """Return the loss of the windows, a scalar."""
        with self._cast:
            if isinstance(self.network, MaskedAutoencoder):
                return self.network(self.batch)
            reconstruction, alignment = self.network(self.batch, self.batch.targets)
            return reconstruction + self.network.config.alignment_weight * alignment

    def count(self) -> tuple[float, int]:
        """Go one step and return its floating-point operations and its kernels."""
        with FlopCounterMode(display=False, custom_mapping=_ATTENTION_ON_CPU) as counter, _Kernels() as kernels:
            self()
        return float(counter.get_total_flops()), kernels.n


def measure_step(
    network: MaskedAutoencoder | Student,
    sessions: Sequence[BinnedSession],
    *,
    window_bins: int,
    optimiser: OptimiserConfig,
    more_sessions: int = 0,
) -> Step:
    """Make a few steps of training and say what one costs; `more_sessions` have space embeddings, but no windows."""
    step = TrainingStep(network, sessions, window_bins=window_bins, optimiser=optimiser, more_sessions=more_sessions)
    flops, kernels = step.count()
    kept = saved_bytes(network, step.loss)
    seconds = []
    for _ in range(_TIMED_STEPS):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return Step(
        parameters=sum(p.numel() for p in network.parameters()),
        space_bytes=16 * network.encoder.space.table.numel(),
        tokens=step.tokens,
        flops=flops,
        kernels=kernels,
        windows=len(step.batch.session_ids),
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


def saved_bytes(network: nn.Module, loss: Callable[[], Tensor]) -> int:
    """Return how many bytes a forward pass to a scalar keeps for its backward pass, weights left out."""
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


def matmul_flops(*, device: str = "cpu", dtype: torch.dtype = torch.float32, size: int = _MATMUL_SIZE) -> float:
    """Return what a device reaches in a large product of matrices, in operations a second."""
    a = torch.randn(size, size, device=device, dtype=dtype)
    torch.matmul(a, a)
    seconds = []
    for _ in range(5):
        start = now(device)
        torch.matmul(a, a)
        seconds.append(now(device) - start)
    return 2 * size**3 / min(seconds)


def now(device: str) -> float:
    """Return the time in seconds when a device has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()

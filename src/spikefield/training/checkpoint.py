"""What an interrupted stage goes on from: one safetensors file of tensors and plain JSON, and the one before it.

A file appears whole or not at all and carries the hash of all it holds; a damaged one is never used. Nothing is
pickled. The file lies hidden beside the result, under a name that says which command it belongs to, and goes when the
result is there.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

import spikefield.files as files
from spikefield.errors import InputError

log = logging.getLogger("spikefield")
_LAST, _PREVIOUS = "last.safetensors", "previous.safetensors"
_FORMAT = "spikefield-checkpoint-1"


@dataclass(frozen=True)
class Checkpoint:
    """Everything a run goes on from: tensors by name, and plain values."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]


def folder_for(result: Path, key: str) -> Path:
    """Return the hidden folder of the checkpoints of a result that is not there yet."""
    return result.parent / f".{result.name}.{key[:12]}.checkpoint"


def save(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; the last one becomes the previous one.

    Raises:
        InputError: the disk is full, read-only or not writable.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    state = json.dumps(checkpoint.state, sort_keys=True)
    metadata = {"format": _FORMAT, "state": state, "sha256": _digest(tensors, state)}
    with files.whole(folder / _LAST) as temporary:
        safetensors.torch.save_file(tensors, temporary, metadata=metadata)
        with suppress(FileNotFoundError):
            (folder / _LAST).replace(folder / _PREVIOUS)


def load(folder: Path) -> Checkpoint | None:
    """Return the last good checkpoint, None where there is none.

    Raises:
        InputError: there are checkpoints, but none of them is whole.
    """
    damaged = []
    for path in (folder / _LAST, folder / _PREVIOUS):
        if not path.is_file():
            continue
        try:
            return _read(path)
        except InputError as error:
            log.warning("%s", error)
            damaged.append(path)
    if damaged:
        raise InputError(f"{folder}: holds no whole checkpoint. Remove the folder to start from the beginning.")
    return None


def remove(folder: Path) -> None:
    """Remove the checkpoints of a result that is there now."""
    shutil.rmtree(folder, ignore_errors=True)


def _read(path: Path) -> Checkpoint:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        state_text = metadata.get("state", "")
        if metadata.get("format") != _FORMAT or metadata.get("sha256") != _digest(tensors, state_text):
            raise ValueError("its contents differ from its hash")
        state = json.loads(state_text)
        if not isinstance(state, dict):
            raise ValueError("its state is no table")
    except (safetensors.SafetensorError, OSError, ValueError, RuntimeError, RecursionError, TypeError) as error:
        why = " ".join(str(error).split())[:120]
        raise InputError(
            f"{path}: not a whole checkpoint ({why}); the one before it is used. Check the disk."
        ) from error
    return Checkpoint(tensors, state)


def _digest(tensors: Mapping[str, Tensor], state: str) -> str:
    digest = hashlib.sha256(state.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()

"""One folder = one model: weights, configuration, the fitted signal chain, split, readouts and a card.

    config.json                   what the network is, what it was trained on, from what, with which versions; hashes
    weights.safetensors           the network
    preprocessing.json, .safetensors   the channels of every session, in order, and its fitted signal chain
    readouts.safetensors          a linear readout for every session whose behaviour was known
    splits.json                   training, validation and test time of every session
    README.md                     the model card

Nothing in it is pickled. Every file's hash is in `config.json` and is checked before it is used. The stage that made
the model leaves its own `stage.json` and `curve.json` beside them.
"""

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
import safetensors.torch
import torch
from torch import Tensor

import spikefield.files as files
from spikefield.errors import InputError
from spikefield.hub import OnHub
from spikefield.models.encoder import BOTH, Encoder, EncoderConfig
from spikefield.models.multimodal import MultimodalEncoder, build_encoder
from spikefield.models.transformer import TransformerConfig
from spikefield.objectives.autoencoding import AutoencodingConfig, MaskedAutoencoder
from spikefield.objectives.distillation import DistillationConfig, Student
from spikefield.recordings.session import check_name
from spikefield.signals.chain import FittedChain
from spikefield.windows.binned import BinnedSession

FORMAT_VERSION = 1
_FORMAT = "spikefield-model"
_SEPARATOR = "|"
_FILES = (
    "weights.safetensors",
    "preprocessing.json",
    "preprocessing.safetensors",
    "readouts.safetensors",
    "splits.json",
    "README.md",
)
_NOT_HASHED = ("config.json", "stage.json", "curve.json")
_OWN_KINDS = (".json", ".safetensors")
Network = MaskedAutoencoder | Student
_BadTensors = safetensors.SafetensorError
_LARGEST_CONFIG_BYTES = 64 << 20
_PACKAGES = ("spikefield", "torch", "torch-brain", "numpy", "scipy", "lightning", "safetensors", "scikit-learn")


@dataclass
class Model(OnHub):
    """A trained network with all that is needed to use it on the sessions it knows."""

    name: str
    network: Network
    trained_on: tuple[str, ...]
    bin_width_ms: float
    window_bins: int
    seed: int
    chain: str | dict[str, Any] = "bins"
    lineage: dict[str, Any] = field(default_factory=dict)
    sessions: dict[str, dict[str, Any]] = field(default_factory=dict)
    chains: dict[str, FittedChain] = field(default_factory=dict)
    splits: dict[str, dict[str, Any]] = field(default_factory=dict)
    readouts: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    scores: list[dict[str, Any]] = field(default_factory=list)

    @property
    def encoder(self) -> Encoder:
        """The part that represents time steps."""
        return self.network.encoder

    def remember(self, session: BinnedSession) -> None:
        """Keep a session's channels, split and, where the model reads the field, its fitted chain."""
        self.sessions[session.session_id] = {
            "subject": session.subject_id,
            "channels": channels_of(session, self.encoder.config.modalities),
            "behavior": list(session.behavior_names),
        }
        self.splits[session.session_id] = session.split.to_dict(
            bin_width_ms=session.bin_width_ms, start_s=session.start_s
        )
        if session.chain is not None and "lfp" in self.encoder.config.modalities:
            self.chains[session.session_id] = session.chain

    def write_folder(self, folder: Path) -> None:
        """Write the model's files into an existing folder (`save`)."""
        save(self, folder)

    @classmethod
    def read_folder(cls, folder: Path) -> "Model":
        """Read a model folder (`load`)."""
        return load(folder)


def channels_of(session: BinnedSession, modalities: tuple[str, ...]) -> list[str]:
    """Return the names of what an encoder of these modalities reads of a session, in order."""
    return [
        *(session.unit_ids if "spikes" in modalities else ()),
        *(session.channel_ids if "lfp" in modalities else ()),
    ]


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in _PACKAGES}


def save(model: Model, folder: Path) -> None:
    """Write the model's files into an existing folder; wrap it in `files.whole` so that the folder appears whole."""
    (folder / "weights.safetensors").write_bytes(safetensors.torch.save(_tensors(model.network)))
    chains = {session_id: chain.to_dict() for session_id, chain in model.chains.items()}
    (folder / "preprocessing.json").write_text(json.dumps(chains))
    _save_arrays(folder / "preprocessing.safetensors", {s: c.arrays() for s, c in model.chains.items()})
    _save_arrays(folder / "readouts.safetensors", model.readouts)
    (folder / "splits.json").write_text(json.dumps(model.splits))
    (folder / "README.md").write_text(_card(model), encoding="utf-8")
    hashes = {name: files.sha256(folder / name) for name in _FILES}
    config = _config(model) | {"files": hashes}
    (folder / "config.json").write_text(json.dumps(config | {"sha256": config_hash(config)}, indent=2))


def config_hash(config: Mapping[str, Any]) -> str:
    """Return the hash of all that `config.json` says but for the hash itself."""
    said = json.dumps({k: v for k, v in config.items() if k != "sha256"}, sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()


def load(folder: str | Path) -> Model:
    """Read a model folder.

    Raises:
        InputError: not a model folder, written by a newer spikefield, or a file is missing or was altered.
    """
    folder = Path(folder)
    config = _read_config(folder)
    _check_files(folder, config.get("files"))
    with _as_input_error(folder):
        chain_arrays = _load_arrays(folder / "preprocessing.safetensors")
        chains = files.read_json(folder / "preprocessing.json")
        return Model(
            name=config["name"],
            network=_load_network(config, folder / "weights.safetensors"),
            trained_on=tuple(config["trained_on"]),
            bin_width_ms=float(config["bin_width_ms"]),
            window_bins=int(config["window_bins"]),
            seed=int(config["seed"]),
            chain=config["chain"],
            lineage=config["lineage"],
            sessions=config["sessions"],
            chains={s: FittedChain.from_dict(content, chain_arrays.get(s, {})) for s, content in chains.items()},
            splits=files.read_json(folder / "splits.json"),
            readouts=_load_arrays(folder / "readouts.safetensors"),
            scores=config["scores"],
        )


@contextmanager
def _as_input_error(folder: Path) -> Iterator[None]:
    """What does not fit together in a folder whose hashes are right was written by hand or by another program."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{folder}: {error}") from error
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RuntimeError, _BadTensors) as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(f"{folder}: not a whole model ({why}). Fetch the model again.") from error


def _load_network(config: dict[str, Any], path: Path) -> Network:
    """Build the network without memory of its own, then give it the tensors, whose shapes must fit."""
    with safetensors.safe_open(path, framework="pt") as file:
        n_tensors = len(file.keys())
    _check_depth(config, n_tensors)
    with torch.device("meta"):
        network = _build(config)
    weights = {name: tensor.clone() for name, tensor in safetensors.torch.load_file(path).items()}
    network.load_state_dict(weights, assign=True)
    return network.eval()


def _check_depth(config: dict[str, Any], n_tensors: int) -> None:
    """Refuse a depth that the weights cannot fill before so many layers are made."""
    transformers = (config["encoder"]["transformer"], config["objective"].get("predictor", {}))
    for transformer in transformers:
        if not 0 <= int(transformer.get("n_layers", 0)) <= n_tensors:
            raise InputError(
                f"`n_layers` {transformer['n_layers']} is more than the weights hold, which are {n_tensors}. "
                "Fetch the model again."
            )


def weights_hash(network: Network) -> str:
    """Return a hash of all weights, the lineage of what is trained from them."""
    digest = hashlib.sha256()
    for name, tensor in sorted(_tensors(network).items()):
        digest.update(name.encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _tensors(network: Network) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}


def _config(model: Model) -> dict[str, Any]:
    network = model.network
    student = isinstance(network, Student)
    return {
        "format": _FORMAT,
        "format_version": FORMAT_VERSION,
        "name": model.name,
        "kind": "student" if student else "autoencoder",
        "encoder": asdict(model.encoder.config),
        "objective": asdict(network.config),
        "n_channels": network.reconstruct.out_features if student else None,
        "teacher_dim": network.teacher_dim if student else None,
        "space_rows": model.encoder.space.rows,
        "field_space_rows": _field_rows(model.encoder),
        "bin_width_ms": model.bin_width_ms,
        "window_bins": model.window_bins,
        "chain": model.chain,
        "seed": model.seed,
        "trained_on": list(model.trained_on),
        "sessions": model.sessions,
        "lineage": model.lineage,
        "scores": model.scores,
        "license": "apache-2.0",
        "versions": versions(),
    }


def _rows(content: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    for session_id in dict(content):
        check_name("session", session_id)
    return {s: (int(first), int(count)) for s, (first, count) in content.items()}


def _field_rows(encoder: Encoder) -> dict[str, tuple[int, int]] | None:
    return encoder.field_space.rows if isinstance(encoder, MultimodalEncoder) else None


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(f"{folder}: holds no config.json, so it is not a model folder. Give the folder of a model.")
    if path.stat().st_size > _LARGEST_CONFIG_BYTES:
        raise InputError(
            f"{path}: larger than {_LARGEST_CONFIG_BYTES} bytes, so it was altered. Fetch the model again."
        )
    config = files.read_json(path)
    if not isinstance(config, dict) or config.get("format") != _FORMAT:
        raise InputError(f"{path}: `format` must be {_FORMAT!r}. Give the folder of a spikefield model.")
    version = config.get("format_version")
    if not isinstance(version, int) or not 1 <= version <= FORMAT_VERSION:
        raise InputError(
            f"{path}: `format_version` must be 1 to {FORMAT_VERSION}, got {version!r}. Update spikefield to read it."
        )
    if config.get("sha256") != config_hash(config):
        raise InputError(f"{path}: differs from its own hash, so it was altered. Fetch the model again.")
    return config


def _check_files(folder: Path, hashes: Any) -> None:
    if not isinstance(hashes, dict):
        raise InputError(f"{folder}: config.json lists no `files` with their hashes. Fetch the model again.")
    for name in hashes:
        if Path(name).name != name:
            raise InputError(f"{folder}: config.json names {name!r}, which leaves the folder. Fetch the model again.")
    if set(hashes) != set(_FILES):
        listed = ", ".join(sorted(hashes)) or "none"
        raise InputError(
            f"{folder}: config.json must list the files {', '.join(_FILES)}, got {listed}. Fetch the model again."
        )
    for path in sorted(folder.iterdir()):
        if path.suffix in _OWN_KINDS and path.name not in (*_FILES, *_NOT_HASHED) and path.name[0] != ".":
            raise InputError(f"{path}: is not listed in config.json. Move it out of the model's folder.")
    for name, expected in hashes.items():
        path = folder / name
        if not path.is_file():
            raise InputError(f"{path}: missing. Fetch the model again.")
        if files.sha256(path) != expected:
            raise InputError(f"{path}: differs from the hash in config.json. Fetch the model again.")


def _build(config: dict[str, Any]) -> Network:
    fields = dict(config["encoder"])
    transformer = TransformerConfig(**fields.pop("transformer"))
    encoder = build_encoder(EncoderConfig(**fields, transformer=transformer))
    encoder.space.load_rows(_rows(config["space_rows"]))
    if isinstance(encoder, MultimodalEncoder):
        encoder.field_space.load_rows(_rows(config["field_space_rows"]))
    objective: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in config["objective"].items()}
    if config["kind"] == "student":
        shape = {"n_channels": int(config["n_channels"]), "teacher_dim": int(config["teacher_dim"])}
        return Student(encoder, DistillationConfig(**objective), **shape)
    predictor = TransformerConfig(**objective.pop("predictor"))
    return MaskedAutoencoder(encoder, AutoencodingConfig(**objective, predictor=predictor))


def _save_arrays(path: Path, by_session: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    flat = {
        f"{session_id}{_SEPARATOR}{name}": np.ascontiguousarray(array)
        for session_id, arrays in by_session.items()
        for name, array in arrays.items()
    }
    path.write_bytes(safetensors.numpy.save(flat))


def _load_arrays(path: Path) -> dict[str, dict[str, np.ndarray]]:
    nested: dict[str, dict[str, np.ndarray]] = {}
    for name, array in _flat(path):
        session_id, _, key = name.partition(_SEPARATOR)
        nested.setdefault(session_id, {})[key] = array
    return nested


def _flat(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    with safetensors.safe_open(path, framework="numpy") as file:
        for name in file.keys():  # noqa: SIM118
            yield name, file.get_tensor(name)


def _card(model: Model) -> str:
    rows = "\n".join(
        f"| {score['session']} | {score['metric']} | {score['value']:.3f} | {score['n_test']} |"
        for score in model.scores
        if score["metric"] == "r2"
    )
    read = {"spikes": "spikes", "lfp": "the field potential alone", BOTH: "spikes and the field potential together"}
    reads = read[model.encoder.config.modality]
    n_weights = sum(p.numel() for p in model.network.parameters())
    return f"""---
license: apache-2.0
library_name: spikefield
tags: [neuroscience, brain-computer-interface, {model.encoder.config.modality}]
---
# {model.name}

A spikefield model that reads {reads}: {n_weights:,} weights, bins of {model.bin_width_ms:g} ms, windows of
{model.window_bins} bins, trained on {", ".join(model.trained_on)} (seed {model.seed}).

R² of behaviour by a linear readout fitted on training time, scored on test time (splits.json):

| session | metric | value | test bins |
|---|---|---|---|
{rows or "| not scored | | | |"}

Not a medical device. Trained on the recordings named above only; on other subjects it must be adapted and checked.
"""

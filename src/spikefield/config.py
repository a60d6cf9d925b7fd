"""Everything a run can be told, as one typed tree; the presets are YAML files of it under `configs/`."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jsonargparse import ArgumentParser

from spikefield.errors import InputError
from spikefield.models.encoder import BOTH, EncoderConfig
from spikefield.models.transformer import TransformerConfig
from spikefield.objectives.autoencoding import AutoencodingConfig
from spikefield.objectives.distillation import DistillationConfig
from spikefield.training.loop import HardwareConfig
from spikefield.training.optimiser import OptimiserConfig
from spikefield.windows.binned import BinnedSession, BinningConfig

PRESETS = ("quick", "compact", "paper", "paper-power")
_WINDOW_S, _FEWEST_WINDOW_BINS = 2.5, 50
_SMALLEST_MAX_COUNT, _LARGEST_MAX_COUNT = 5, 20
_LARGEST_SPIKE_PATCH, _FEWEST_SPIKE_PATCHES = 32, 2


@dataclass(frozen=True)
class ExperimentConfig:
    """One experiment: how sessions become bins, how large the networks are, and how long they train.

    `window_s` None is 2.5 s, but no fewer than 50 bins.
    `spike_patch` None cuts the units of the smallest session into two patches or more, of 32 units at most.
    `lfp_patch` None puts all channels of a session into one patch, so that each bin is one token.
    `max_count` None follows the training time: the count that all but one bin in a thousand stay below, 5 to 20.
    `student` is the student's own size; None is that of the teacher.
    `causal` makes the student, and it alone, see no future but `look_ahead_bins`, and `attention_s` back in a layer,
    which should be well below `window_s`, or too few bins learn to use all of it.
    """

    binning: BinningConfig = field(default_factory=BinningConfig)
    window_s: float | None = None
    spike_patch: int | None = None
    lfp_patch: int | None = None
    max_count: int | None = None
    student_channel_dropout: float = 0.5
    causal: bool = False
    attention_s: float = 1.0
    look_ahead_bins: int = 0
    space_embedding: bool = True
    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    student: TransformerConfig | None = None
    autoencoding: AutoencodingConfig = field(default_factory=AutoencodingConfig)
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    pretraining: OptimiserConfig = field(default_factory=OptimiserConfig)
    distilling: OptimiserConfig = field(default_factory=OptimiserConfig)
    hardware: HardwareConfig = field(default_factory=HardwareConfig)

    def __post_init__(self) -> None:
        if self.window_s is not None and self.window_s <= 0:
            raise InputError(
                f"`window_s` must be a positive number of seconds, got {self.window_s}. Leave it out for the default."
            )
        if self.attention_s <= 0:
            raise InputError(
                f"`attention_s` must be a positive number of seconds, got {self.attention_s}. Give about 1."
            )
        if self.look_ahead_bins < 0 or (self.look_ahead_bins and not self.causal):
            raise InputError(
                f"`look_ahead_bins` must be 0 or more, and 0 unless `causal` is set, got {self.look_ahead_bins}. "
                "Set `causal: true`, or leave it at 0."
            )


def preset_path(name: str) -> Path:
    """Return the YAML file of a preset.

    Raises:
        InputError: no such preset.
    """
    if name not in PRESETS:
        raise InputError(f"`preset` must be one of {PRESETS}, got {name!r}. Name one of them.")
    return Path(__file__).parent / "configs" / f"{name}.yaml"


def load_preset(name: str, *changes: Path) -> ExperimentConfig:
    """Return a preset as it stands in its file, changed by further files of the same tree.

    Raises:
        InputError: no such preset.
    """
    parser = ArgumentParser(default_config_files=[str(preset_path(name)), *map(str, changes)])
    parser.add_class_arguments(ExperimentConfig, as_group=False)
    return ExperimentConfig(**vars(parser.instantiate(parser.get_defaults())))


def spike_encoder(config: ExperimentConfig, sessions: Sequence[BinnedSession]) -> EncoderConfig:
    """Return the spike encoder that suits these sessions."""
    max_count = config.max_count
    if max_count is None:
        highest = max(float(np.quantile(s.require("spikes")[s.split.fitted], 0.999)) for s in sessions)
        max_count = int(np.clip(np.ceil(highest), _SMALLEST_MAX_COUNT, _LARGEST_MAX_COUNT))
    patch = config.spike_patch or _spike_patch(config.transformer.dim, sessions)
    space = config.space_embedding
    return EncoderConfig("spikes", patch, max_count, space_embedding=space, transformer=config.transformer)


def _spike_patch(dim: int, sessions: Sequence[BinnedSession]) -> int:
    """Return the largest patch that leaves the session with fewest units enough patches to hide some of them."""
    fewest = min(s.require("spikes").shape[1] for s in sessions)
    allowed = [size for size in range(1, _LARGEST_SPIKE_PATCH + 1) if dim % size == 0]
    return max((size for size in allowed if -(-fewest // size) >= _FEWEST_SPIKE_PATCHES), default=1)


def lfp_encoder(config: ExperimentConfig, sessions: Sequence[BinnedSession]) -> EncoderConfig:
    """Return the field-potential encoder that suits these sessions."""
    patch = config.lfp_patch or max(s.require("lfp").shape[1] for s in sessions)
    return EncoderConfig("lfp", patch, space_embedding=config.space_embedding, transformer=config.transformer)


def multimodal_encoder(config: ExperimentConfig, sessions: Sequence[BinnedSession]) -> EncoderConfig:
    """Return the encoder of spikes and field together that suits these sessions."""
    field_patch = lfp_encoder(config, sessions).patch_size
    return replace(spike_encoder(config, sessions), modality=BOTH, lfp_patch_size=field_patch)


def student_encoder(config: ExperimentConfig, sessions: Sequence[BinnedSession]) -> EncoderConfig:
    """Return the student's encoder: the field-potential encoder, with channels hidden while it trains."""
    size = config.student or config.transformer
    encoder = replace(lfp_encoder(config, sessions), channel_dropout=config.student_channel_dropout, transformer=size)
    if not config.causal:
        return encoder
    attention_bins = max(round(config.attention_s * 1000 / sessions[0].bin_width_ms), 1)
    causal = replace(size, causal=True, attention_bins=attention_bins, look_ahead_bins=config.look_ahead_bins)
    return replace(encoder, transformer=causal)


def binning_of(config: ExperimentConfig) -> BinningConfig:
    """Return the binning, with a signal chain that does not look ahead where the student must not."""
    if config.causal and config.binning.chain == "paper":
        return replace(config.binning, chain="realtime")
    return config.binning


def window_bins(config: ExperimentConfig, bin_width_ms: float) -> int:
    """Return the window's length in whole bins."""
    if config.window_s is None:
        return max(round(_WINDOW_S * 1000 / bin_width_ms), _FEWEST_WINDOW_BINS)
    return max(round(config.window_s * 1000 / bin_width_ms), 1)

"""Field-potential models with random weights, readout and a fitted chain, ready to be exported or streamed."""

import numpy as np
import torch

import tiny
from spikefield.artifact import Model
from spikefield.models.encoder import Encoder, EncoderConfig
from spikefield.models.transformer import TransformerConfig
from spikefield.objectives.distillation import DistillationConfig, Student
from spikefield.windows.binned import BinningConfig, bin_session


def model(
    *, channels: int = 6, patch: int = 4, sessions: tuple[str, ...] = ("s0",), chain: str = "bins", **size
) -> Model:
    """Return a student that knows `sessions` of tiny recordings."""
    torch.manual_seed(0)
    given = {"dim": 16, "n_layers": 2, "n_heads": 2} | size
    encoder = Encoder(EncoderConfig("lfp", patch, transformer=TransformerConfig(**given)))
    binning = BinningConfig(bin_width_ms=tiny.BIN_MS, chain=chain)
    binned = [bin_session(tiny.session(int(s[1:]), channels=channels), config=binning) for s in sessions]
    for session in binned:
        encoder.add_session(session.session_id, channels)
    network = Student(encoder, DistillationConfig(), n_channels=channels, teacher_dim=given["dim"]).eval()
    for norm in (m for m in network.modules() if isinstance(m, torch.nn.RMSNorm)):
        torch.nn.init.normal_(norm.weight, 1, 0.2)
    torch.nn.init.normal_(encoder.space.table, 0, 0.5)
    made = Model("student", network, tuple(sessions), tiny.BIN_MS, window_bins=40, seed=0, chain=chain)
    rng = np.random.default_rng(0)
    for session in binned:
        made.remember(session)
        weights = {"weights": rng.normal(size=(given["dim"], 2)), "intercept": rng.normal(size=2)}
        made.readouts[session.session_id] = weights | {"penalty": np.ones(2), "inner_r2": np.ones(2)}
    return made

"""A small causal model with random weights, its recording, and what it decodes when run over the whole recording."""

import numpy as np
import torch

from spikefield.artifact import Model
from spikefield.models.encoder import Encoder, EncoderConfig
from spikefield.models.transformer import TransformerConfig
from spikefield.objectives.distillation import DistillationConfig, Student
from spikefield.signals.chain import fit_chain
from spikefield.windows.batches import collate

N_CHANNELS, BIN_MS = 6, 20.0


def recording(seconds=8.0, rate_hz=237.0, seed=0, n_channels=N_CHANNELS):
    """Return (sample, channel) of smooth noise in volts."""
    rng = np.random.default_rng(seed)
    walk = np.cumsum(rng.normal(size=(round(seconds * rate_hz), n_channels)), axis=0)
    return 1e-5 * (walk - 0.98 * np.roll(walk, 1, axis=0))


def live_model(rate_hz=237.0, *, ahead=0, patch=4, chain="bins", bins=7, n_channels=N_CHANNELS, bad=(), seconds=8.0):
    """Return a model that knows session "live"."""
    torch.manual_seed(0)
    lfp = recording(seconds, rate_hz, n_channels=n_channels)
    ids = [f"c{i}" for i in range(n_channels)]
    n_bins = int(seconds * 1000 / BIN_MS)
    fitted = fit_chain(
        chain, lfp, rate_hz=rate_hz, start_s=0.0, channel_ids=ids, bin_width_ms=BIN_MS, grid_start_s=0.0,
        n_bins=n_bins, within=np.ones(n_bins, bool), bad_channels=bad,
    )  # fmt: skip
    size = TransformerConfig(dim=16, n_layers=2, n_heads=2, causal=True, attention_bins=bins, look_ahead_bins=ahead)
    encoder = Encoder(EncoderConfig("lfp", patch, transformer=size))
    n_features = len(fitted.feature_names)
    encoder.add_session("live", n_features)
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    student = Student(encoder, DistillationConfig(), n_channels=n_features, teacher_dim=16).eval()
    rng = np.random.default_rng(1)
    return Model(
        name="distilled",
        network=student,
        trained_on=("live",),
        bin_width_ms=BIN_MS,
        window_bins=50,
        seed=0,
        chain=chain,
        sessions={"live": {"subject": "s", "channels": list(fitted.feature_names), "behavior": ["vx", "vy"]}},
        chains={"live": fitted},
        readouts={"live": {"weights": rng.normal(size=(16, 2)), "intercept": rng.normal(size=2)}},
    )


@torch.no_grad()
def offline(model, lfp):
    """Return what the model decodes of each whole bin, run once over all of them."""
    chain = model.chains["live"]
    clock = chain.clock
    n_bins = int(np.ceil(len(lfp) / clock.rate_hz * 1000 / clock.bin_width_ms))
    features = chain.with_clock(rate_hz=clock.rate_hz, start_s=0.0, grid_start_s=0.0, n_bins=n_bins).apply(lfp)
    features = features[np.isfinite(features).all(1)]
    z = model.encoder(collate([("live", {"lfp": torch.from_numpy(features)})]))[0].numpy()
    return z @ model.readouts["live"]["weights"] + model.readouts["live"]["intercept"]

"""Windows a second that loading gives, from memory and from sessions on disk, beside what a training step takes.

Last line: JSON.
"""

import json
import time

import torch

from spikefield.config import ExperimentConfig, lfp_encoder
from spikefield.experiments.planning import described
from spikefield.experiments.step_cost import measure_step
from spikefield.models.encoder import Encoder
from spikefield.objectives.autoencoding import MaskedAutoencoder
from spikefield.training.loop import loaders
from spikefield.training.optimiser import OptimiserConfig
from spikefield.windows.binned import BinnedSession
from spikefield.windows.on_disk import on_disk

WINDOW, BATCH, PASSES = 125, 8, 20


def windows_a_second(session: BinnedSession) -> float:
    """Load batches of both streams and return the windows a second."""
    train, _ = loaders([session], modalities=("spikes", "lfp"), window_bins=WINDOW, batch_windows=BATCH, seed=0)
    start, n = time.perf_counter(), 0
    for _ in range(PASSES):
        n += sum(len(batch.session_ids) for batch in train)
    return n / (time.perf_counter() - start)


def main() -> None:
    torch.set_num_threads(1)
    config = ExperimentConfig()
    (session,) = described(config, sessions=1, minutes=2.0, units=96, channels=96).sessions
    mapped = on_disk(session)
    rates = [(windows_a_second(session), windows_a_second(mapped)) for _ in range(3)]
    network = MaskedAutoencoder(Encoder(lfp_encoder(config, [session])), config.autoencoding)
    step = measure_step(network, [session], window_bins=WINDOW, optimiser=OptimiserConfig(batch_windows=BATCH))
    found = {
        "memory_windows_a_second": round(max(m for m, _ in rates)),
        "disk_windows_a_second": round(max(d for _, d in rates)),
        "training_windows_a_second": round(BATCH / step.seconds),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()

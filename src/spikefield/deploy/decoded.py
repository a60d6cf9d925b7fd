"""What leaves a live decoder: values of bins with the flags of their quality, and counts of what the stream has met."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

GOOD, BRIDGED, BAD_CHANNELS, WARMING_UP, REMEMBERS = 0, 1, 2, 4, 8


@dataclass
class Counters:
    """What a stream has met so far.

    `dropped_samples` were announced by the times but never came; `bad_samples` came with a value that is not finite;
    `bridged_ms` was filled in; `late_bins` took longer to decode than they last.
    """

    samples: int = 0
    bins: int = 0
    dropped_samples: int = 0
    bridged_ms: float = 0.0
    resets: int = 0
    bad_samples: int = 0
    repeated_samples: int = 0
    late_bins: int = 0
    clock_jitter_ms: float = 0.0


@dataclass(frozen=True, eq=False)
class Decoded:
    """The bins that a push completed.

    `values` (bin, behavior) are in the behaviour's own unit. `bin_time_s` is the bin's centre on the source's clock
    (from 0 where it gave no times). `quality` adds up: 1 samples of the bin were bridged, 2 channels of it were bad,
    4 too little past to look at yet, 8 the network or the filters reach to a bin with 1 or 2; 0 is good. `z` is the
    representation that the readout saw. `features` are those of the bins that left the signal chain, which the network
    may still hold back: NaN where invented or not measured.
    """

    bin_time_s: Float[np.ndarray, " bin"]
    values: Float[np.ndarray, "bin behavior"]
    quality: UInt8[np.ndarray, " bin"]
    latency_ms: float
    z: Float[np.ndarray, "bin dim"]
    features: Float[np.ndarray, "chain_bin feature"]

    def __len__(self) -> int:
        return len(self.quality)

"""Time the binning of 10^7 spikes of 200 units beside `numpy.histogram` per unit, and compare the counts.

Two twins: one picks each unit's spikes out of the recording (as spikes are stored), one has them sorted by unit before.
Last line: JSON with the ratios of times, and how many exact 10-ms stamps each puts into the wrong bin.

    python benchmarks/binning.py
"""

import argparse
import json
import time
from collections.abc import Callable

import numpy as np

from spikefield.signals.binning import bin_index, bin_spikes

DURATION_S, N_UNITS, BIN_WIDTH_MS, REPEATS = 600.0, 200, 10.0, 5


def seconds(run: Callable[[], object], repeats: int) -> float:
    """Return the best time of several."""
    times = []
    for _ in range(repeats):
        start_s = time.perf_counter()
        run()
        times.append(time.perf_counter() - start_s)
    return min(times)


def main() -> None:
    """Make spikes, time, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spikes", type=int, default=10**7)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    times_s, units = np.sort(rng.uniform(0, DURATION_S, options.spikes)), rng.integers(0, N_UNITS, options.spikes)
    n_bins = round(DURATION_S * 1000 / BIN_WIDTH_MS)
    edges_s = np.arange(n_bins + 1) * BIN_WIDTH_MS / 1000
    by_unit = [times_s[units == unit] for unit in range(N_UNITS)]
    grid = {"n_units": N_UNITS, "n_bins": n_bins, "start_s": 0.0, "bin_width_ms": BIN_WIDTH_MS}
    counts = bin_spikes(times_s, units, **grid)
    ours_s = seconds(lambda: bin_spikes(times_s, units, **grid), REPEATS)
    picking_s = seconds(lambda: [np.histogram(times_s[units == u], edges_s) for u in range(N_UNITS)], 1)
    sorted_s = seconds(lambda: [np.histogram(spikes, edges_s) for spikes in by_unit], 2)
    expected = np.stack([np.histogram(spikes, edges_s)[0] for spikes in by_unit], axis=1)
    print(
        f"{options.spikes} spikes, {counts.sum(dtype=np.int64)} counted, {(counts != expected).sum()} bins not as numpy"
    )
    stamps_s = np.arange(n_bins) / 100
    ours_wrong = int((bin_index(stamps_s, start_s=0.0, bin_width_ms=BIN_WIDTH_MS) != np.arange(n_bins)).sum())
    floor_wrong = int((np.floor(stamps_s / 0.01) != np.arange(n_bins)).sum())
    print(f"of {n_bins} stamps on edges misplaced: ours {ours_wrong}, floor(t / 0.01) {floor_wrong}")
    print(f"ours {ours_s:.3f} s; numpy.histogram per unit {picking_s:.3f} s, sorted before {sorted_s:.3f} s")
    ratios = {"ratio_to_histogram": picking_s / ours_s, "ratio_to_histogram_sorted": sorted_s / ours_s}
    print(json.dumps({**{k: round(v, 1) for k, v in ratios.items()}, "misplaced_on_edges": ours_wrong}))


if __name__ == "__main__":
    main()

"""Time the raw path: a broadband file of 96 channels at 24.4 kHz to 0.05-50 Hz on a 100 Hz grid, beside a plain twin.

Ours reads the int16 file a piece at a time, extracts the field potential at 1 kHz and streams it through the zero-phase
`paper` chain (without statistics), writing the bins as they come. The twin is what public code does: the whole array as
float64, notch and band-pass by `filtfilt`, common average, every n-th sample; it runs on the first `--naive-seconds`,
for it needs 16 times the memory. One core each. Last line: JSON.

    python benchmarks/prepare.py --minutes 10
"""

import argparse
import json
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
from scipy import signal
from threadpoolctl import threadpool_limits

from spikefield.signals.chain import ChainStream, fit_chain
from spikefield.signals.chain_config import ChainConfig, preset
from spikefield.signals.extraction import LfpExtractor
from spikefield.signals.sample_clock import SampleClock
from spikefield.signals.scaling import ZScoreConfig

RATE_HZ, N_CHANNELS, BIN_WIDTH_MS = 24_414.3404, 96, 10.0
CHUNK_SAMPLES = 1 << 15
UNSCALED = ChainConfig(steps=tuple(step for step in preset("paper").steps if not isinstance(step, ZScoreConfig)))


def write_broadband(path: Path, n_samples: int) -> None:
    """Write slow waves, mains and noise; one piece of noise is repeated, for the content does not matter here."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 200, (CHUNK_SAMPLES, N_CHANNELS)).astype(np.int16)
    with path.open("wb") as file:
        for first in range(0, n_samples, CHUNK_SAMPLES):
            t = np.arange(first, min(first + CHUNK_SAMPLES, n_samples)) / RATE_HZ
            waves = 900 * np.sin(2 * np.pi * 3 * t) + 300 * np.sin(2 * np.pi * 60 * t)
            (noise[: len(t)] + waves[:, None].astype(np.int16)).tofile(file)


def ours(path: Path, n_samples: int, out: Path) -> tuple[float, float]:
    """Return the seconds of the whole path, and those of them that the extraction took."""
    extractor = LfpExtractor(SampleClock.regular(rate_hz=RATE_HZ, start_s=0.0, n_samples=n_samples), scale=1e-6)
    stream = chain_stream(extractor)
    extracting_s, start_s = 0.0, time.perf_counter()
    with path.open("rb") as source, out.open("wb") as target:
        while len(raw := np.fromfile(source, np.int16, CHUNK_SAMPLES * N_CHANNELS)):
            before_s = time.perf_counter()
            lfp = extractor.push(raw.reshape(-1, N_CHANNELS))
            extracting_s += time.perf_counter() - before_s
            stream.push(lfp).astype(np.float32).tofile(target)
        extractor.flush()
        stream.flush().astype(np.float32).tofile(target)
    return time.perf_counter() - start_s, extracting_s


def chain_stream(extractor: LfpExtractor) -> ChainStream:
    """Return the running chain; without a z-score it has nothing to learn, so a second of noise will do."""
    n_bins = 100
    noise = np.random.default_rng(0).normal(size=(round(extractor.rate_hz), N_CHANNELS))
    chain = fit_chain(
        UNSCALED,
        noise,
        rate_hz=extractor.rate_hz,
        start_s=0.0,
        channel_ids=[f"ch{i}" for i in range(N_CHANNELS)],
        bin_width_ms=BIN_WIDTH_MS,
        grid_start_s=0.0,
        n_bins=n_bins,
        within=np.ones(n_bins, bool),
    )
    return chain.stream()


def naive(path: Path, n_samples: int) -> float:
    """Return the seconds of the whole-array twin over the first samples of the file."""
    start_s = time.perf_counter()
    raw = np.fromfile(path, np.int16, n_samples * N_CHANNELS).reshape(-1, N_CHANNELS)
    wide = raw.astype(np.float64) * 1e-6
    for f in (60.0, 120.0):
        wide = signal.filtfilt(*signal.iirnotch(f, 30, fs=RATE_HZ), wide, axis=0)
    wide -= wide.mean(axis=1, keepdims=True)
    sos = signal.butter(2, [0.05, 50.0], "bandpass", fs=RATE_HZ, output="sos")
    band = signal.sosfiltfilt(sos, wide, axis=0)
    band[:: round(RATE_HZ / 100)].astype(np.float32)
    return time.perf_counter() - start_s


class PeakMemory:
    """The most that the process grew while the block ran, in MB, looked at every 5 ms."""

    def __enter__(self) -> "PeakMemory":
        self.extra_mb, self._done = 0.0, threading.Event()
        self._before = psutil.Process().memory_info().rss
        self._watcher = threading.Thread(target=self._watch)
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._watcher.join()

    def _watch(self) -> None:
        process = psutil.Process()
        while not self._done.wait(0.005):
            self.extra_mb = max(self.extra_mb, (process.memory_info().rss - self._before) / 1e6)


def main() -> None:
    """Write the file, time both, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--naive-seconds", type=float, default=20.0)
    parser.add_argument("--dir", type=Path, default=None, help="where the file is written; a temporary folder if unset")
    options = parser.parse_args()
    n_samples = round(options.minutes * 60 * RATE_HZ)
    with tempfile.TemporaryDirectory(dir=options.dir) as folder, threadpool_limits(1):
        path = Path(folder) / "broadband.int16"
        write_broadband(path, n_samples)
        print(f"{path.stat().st_size / 1e9:.2f} GB: {N_CHANNELS} channels x {n_samples / RATE_HZ:.0f} s")
        with PeakMemory() as memory:
            ours_s, extracting_s = ours(path, n_samples, Path(folder) / "bins.float32")
        n_naive = min(n_samples, round(options.naive_seconds * RATE_HZ))
        naive_s = naive(path, n_naive)
    ours_x, naive_x = n_samples / RATE_HZ / ours_s, n_naive / RATE_HZ / naive_s
    print(f"ours   {ours_x:7.1f} x real time  ({ours_s:.1f} s, of which extraction {extracting_s:.1f} s)")
    print(f"naive  {naive_x:7.1f} x real time  (whole array in float64, first {n_naive / RATE_HZ:.0f} s)")
    result = {"x_realtime": ours_x, "ratio_to_naive": ours_x / naive_x, "extra_rss_mb": memory.extra_mb}
    print(json.dumps({name: round(value, 2) for name, value in result.items()}))


if __name__ == "__main__":
    main()

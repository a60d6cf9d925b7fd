"""Thirty minutes of samples at 20 times their speed, with dropped and repeated packets, jitter and bursts of NaN.

Every fault is written down when it is made; at the end the decoder's counters must say the same, every bin must have
come or lie in a gap that was too long to bridge, and the memory must be as it was after the first minute. Last line:
JSON with what was made and what was counted. Ends with 1 if they differ.

    python benchmarks/soak.py [--minutes 30] [--speed 20]
"""

import argparse
import gc
import json
import sys
import time
from dataclasses import asdict, dataclass

import numpy as np
import psutil
from streaming import BIN_MS, N_CHANNELS, RATE_HZ, encoder_of, model_of, recording

from spikefield.deploy.decoded import BAD_CHANNELS, BRIDGED
from spikefield.deploy.streaming import StreamingDecoder
from spikefield.deploy.threads import one_thread

LOOP_S, JITTER_SAMPLES, LONGEST_BRIDGE = 20.0, 0.1, 50
FAULTS = ("short drop", "long drop", "repeat", "one channel", "short silence", "long silence")


@dataclass
class Made:
    """The faults of a run."""

    dropped_samples: int = 0
    repeated_samples: int = 0
    bad_samples: int = 0
    resets: int = 0
    bridged_samples: int = 0


class Source:
    """Hands out the samples of one second after the other, each second with one fault in its middle."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.lfp = recording(LOOP_S + 1).astype(np.float32)[: round(LOOP_S * RATE_HZ)]
        self.made, self.n_made = Made(), 0

    def second(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the next second's samples and times, spoilt."""
        n = round(RATE_HZ)
        index = np.arange(self.n_made, self.n_made + n)
        self.n_made += n
        rows = self.lfp[index % len(self.lfp)].copy()
        times_s = (index + self.rng.normal(scale=JITTER_SAMPLES, size=n)) / RATE_HZ
        if index[0] == 0:
            return rows, times_s
        return self._spoil(rows, times_s, str(self.rng.choice(FAULTS)))

    def _spoil(self, rows: np.ndarray, times_s: np.ndarray, fault: str) -> tuple[np.ndarray, np.ndarray]:
        made, first = self.made, int(self.rng.integers(100, 300))
        length = int(self.rng.integers(LONGEST_BRIDGE + 1, 600) if "long" in fault else self.rng.integers(1, 50))
        made.resets += "long" in fault
        if "drop" in fault:
            made.dropped_samples += length
            made.bridged_samples += 0 if "long" in fault else length
            kept = np.r_[0:first, first + length : len(rows)]
            return rows[kept], times_s[kept]
        if fault == "repeat":
            made.repeated_samples += length
            again = np.r_[0:first, first - length : first, first : len(rows)]
            return rows[again], times_s[again]
        made.bad_samples += length
        if fault == "one channel":
            rows[first : first + length, self.rng.integers(N_CHANNELS)] = np.nan
        else:
            made.bridged_samples += min(length, LONGEST_BRIDGE)
            rows[first : first + length] = np.nan
        return rows, times_s


def main() -> None:
    """Run, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--speed", type=float, default=20.0)
    options = parser.parse_args()
    one_thread()
    sys.exit(run(options.minutes, options.speed))


def run(minutes: float, speed: float) -> int:
    """Return 0 if everything is accounted for."""
    source, rng = Source(0), np.random.default_rng(1)
    decoder = StreamingDecoder(model_of(encoder_of("compact")), "live", max_bridge_ms=LONGEST_BRIDGE / RATE_HZ * 1000)
    process, memory_mb, flagged, n_pushes = psutil.Process(), [], 0, 0
    latency_ms = np.zeros(round(60 * minutes * RATE_HZ / 10))
    last_bin, jumps, backward = -1, 0, 0
    start_s = time.perf_counter()
    for second in range(round(60 * minutes)):
        rows, times_s = source.second()
        cuts = np.cumsum(rng.integers(1, 60, len(rows)))
        for piece in np.split(np.arange(len(rows)), cuts[cuts < len(rows)]):
            decoded = decoder.push(rows[piece], times_s[piece])
            assert np.isfinite(decoded.values).all()
            if not len(decoded):
                continue
            bins = np.round(decoded.bin_time_s * 1000 / BIN_MS - 0.5).astype(int)
            steps, last_bin = np.diff(bins, prepend=last_bin), bins[-1]
            jumps, backward = jumps + int((steps > 1).sum()), backward + int((steps < 1).sum())
            flagged += int(((decoded.quality & (BRIDGED | BAD_CHANNELS)) > 0).sum())
            latency_ms[n_pushes] = decoded.latency_ms / len(decoded)
            n_pushes += 1
        if second >= 60 and second % 30 == 0:
            gc.collect()
            memory_mb.append(process.memory_info().rss / 1e6)
        time.sleep(max(0.0, start_s + (second + 1) / speed - time.perf_counter()))
    made, counted = asdict(source.made), asdict(decoder.counters)
    counted["bridged_samples"] = round(counted["bridged_ms"] * RATE_HZ / 1000)
    took_s, growth_mb = time.perf_counter() - start_s, max(memory_mb, default=0) - min(memory_mb, default=0)
    wrong = [f"{k}: made {v}, counted {counted[k]}" for k, v in made.items() if counted[k] != v]
    wrong += [f"{backward} bins came twice or out of order"] if backward else []
    wrong += [f"{jumps} gaps in the bins, {made['resets']} starts anew"] if jumps > made["resets"] else []
    wrong += [f"memory grew by {growth_mb:.1f} MB"] if growth_mb > 5 else []
    p50, p99 = np.percentile(latency_ms[:n_pushes], [50, 99])
    print(
        f"{minutes:g} minutes in {took_s:.0f} s: {counted['samples']} samples, {counted['bins']} bins, {flagged} of "
        f"them with bridged samples or bad channels; a bin p50 {p50:.2f} ms, p99 {p99:.2f}; "
        f"memory within {growth_mb:.1f} MB"
    )
    print("everything accounted for" if not wrong else "; ".join(wrong))
    print(json.dumps({"made": made, "counted": counted, "memory_growth_mb": round(growth_mb, 2)}))
    return bool(wrong)


if __name__ == "__main__":
    main()

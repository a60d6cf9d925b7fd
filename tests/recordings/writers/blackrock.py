"""Blackrock NSx 2.2 files: int16 packets; where the acquisition was paused, a new packet begins."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np

RATE_HZ, TICKS_HZ = 1000.0, 30000
UV_PER_COUNT = 0.25
FULL_SCALE = 10_000


def write(
    path: Path,
    *,
    lengths: tuple[int, ...] = (1500, 900),
    pause_s: float = 0.7,
    planted: Callable[[np.ndarray], np.ndarray] | None = None,
    seed: int = 0,
) -> list[np.ndarray]:
    """Write `chan1` to `chan3`, `planted` by time where given; return the counts of every packet."""
    generator = np.random.default_rng(seed)
    packets = [generator.integers(-4000, 4000, (n, 3)).astype("<i2") for n in lengths]
    channels = b"".join(_channel(i + 1) for i in range(3))
    size = 8 + 2 + 4 + 16 + 256 + 4 + 4 + 16 + 4 + len(channels)
    head = struct.pack("<8sBBI16s256sII8HI", b"NEURALCD", 2, 2, size, b"1 kS/s", b"", 30, TICKS_HZ, *([1] * 8), 3)
    content, start = head + channels, 0.0
    for i, packet in enumerate(packets):
        if planted is not None:
            times = start + np.arange(len(packet)) / RATE_HZ
            packet = packets[i] = np.rint(FULL_SCALE * planted(times)).astype("<i2")
        content += struct.pack("<BII", 1, round(start * TICKS_HZ), len(packet)) + packet.tobytes()
        start += len(packet) / RATE_HZ + pause_s
    path.write_bytes(content)
    return packets


def _channel(number: int) -> bytes:
    label = f"chan{number}".encode()
    analog = round(32767 * UV_PER_COUNT)
    limits = struct.pack("<hhhh", -32767, 32767, -analog, analog)
    filters = struct.pack("<IIHIIH", 300, 1, 1, 250000, 4, 1)
    return struct.pack("<2sH16sBB", b"CC", number, label, 1, number) + limits + struct.pack("<16s", b"uV") + filters

"""Size, roughness, spectrum and likeness of channels, from pieces of the field potential, one piece at a time."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, eq=False)
class FieldStatistics:
    """What the pieces of a field potential have in common; all but `mean` and `std` are within pieces.

    Attributes:
        mean, std: (channel,), over all pieces together.
        rms: root mean square of each channel about its mean in the piece.
        roughness: root mean square of the steps from sample to sample.
        still: share of steps that are exactly 0.
        correlation: of each pair of channels.
        frequency_hz, power: mean power density (square of the unit per Hz).
    """

    mean: Float[np.ndarray, " channel"]
    std: Float[np.ndarray, " channel"]
    rms: Float[np.ndarray, " channel"]
    roughness: Float[np.ndarray, " channel"]
    still: Float[np.ndarray, " channel"]
    correlation: Float[np.ndarray, "channel channel"]
    frequency_hz: Float[np.ndarray, " frequency"]
    power: Float[np.ndarray, "frequency channel"]


def measure(pieces: Float[np.ndarray, "piece sample channel"], rate_hz: float) -> FieldStatistics:
    """Return the statistics of pieces (piece, sample, channel); there must be at least one of two samples or more."""
    n_pieces, n, channels = pieces.shape
    means, steps, still = np.zeros((n_pieces, channels)), np.zeros(channels), np.zeros(channels)
    products, power = np.zeros((channels, channels)), np.zeros((n // 2 + 1, channels))
    taper = np.hanning(n)[:, None]
    for i, piece in enumerate(pieces):
        rows = piece.astype(np.float64)
        means[i] = rows.mean(axis=0)
        step = np.diff(rows, axis=0)
        steps += (step**2).mean(axis=0)
        still += (step == 0).mean(axis=0)
        rows -= means[i]
        products += rows.T @ rows / n
        power += np.abs(np.fft.rfft(rows * taper, axis=0)) ** 2
    rms = np.sqrt(np.diag(products) / n_pieces)
    size = np.where(rms > 0, rms, np.inf)
    return FieldStatistics(
        mean=means.mean(axis=0),
        std=np.sqrt(rms**2 + means.var(axis=0)),
        rms=rms,
        roughness=np.sqrt(steps / n_pieces),
        still=still / n_pieces,
        correlation=products / n_pieces / size[:, None] / size[None],
        frequency_hz=np.fft.rfftfreq(n, 1 / rate_hz),
        power=2 * power / n_pieces / rate_hz / max(float(np.sum(taper**2)), 1e-12),
    )

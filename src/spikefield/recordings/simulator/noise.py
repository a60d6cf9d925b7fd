"""Coloured noise and smooth patterns over an electrode array, of which states and fields are made."""

import numpy as np
from jaxtyping import Float
from numpy.random import Generator
from scipy import fft
from scipy.spatial.distance import cdist


def coloured_noise(
    generator: Generator, *, rows: int, samples: int, rate_hz: float, exponent: float, knee_hz: float
) -> Float[np.ndarray, "row time"]:
    """Draw Gaussian noise (row, time) of unit variance whose power falls as 1 / (1 + (f / knee)^exponent).

    Made in the frequency domain, in one inverse transform; the period is padded so that its ends do not meet.
    """
    period = fft.next_fast_len(samples + int(rate_hz / knee_hz), real=True)
    frequency_hz = fft.rfftfreq(period, 1 / rate_hz)
    amplitude = 1 / np.sqrt(1 + (frequency_hz / knee_hz) ** exponent)
    amplitude[0] = 0.0
    amplitude *= period / np.sqrt(4 * np.sum(amplitude**2))
    spectrum = generator.standard_normal((rows, 2 * len(amplitude)), dtype=np.float32).view(np.complex64)
    spectrum *= amplitude.astype(np.float32)
    noise: np.ndarray = fft.irfft(spectrum, n=period, axis=1)  # pyright: ignore[reportAssignmentType]
    return noise[:, :samples]


def smooth_pattern(
    generator: Generator, positions_um: Float[np.ndarray, "place 2"], *, rows: int, length_um: float
) -> Float[np.ndarray, "row place"]:
    """Draw patterns (row, place) of unit variance over the places, with correlation exp(-d² / 2 length²)."""
    correlation = np.exp(-(cdist(positions_um, positions_um) ** 2) / (2 * length_um**2))
    values, vectors = np.linalg.eigh(correlation)
    root = vectors * np.sqrt(np.clip(values, 0.0, None))
    # The root is made symmetric: eigenvectors have no sign of their own, patterns must.
    return generator.standard_normal((rows, len(positions_um))) @ (root @ vectors.T)

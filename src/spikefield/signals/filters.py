"""Design the filters of the signal chain and run them over whole arrays, causally or with zero phase.

Every filter is a cascade of second-order sections in float64, designed by scipy. A run of samples starts in the steady
state of its first sample, so a constant offset makes no step at the start. The zero-phase form runs the same sections
forward, then backward: the gain is squared, the phase is nil, and each sample depends on the future.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Complex, Float
from scipy import signal

from spikefield.errors import InputError

Form = Literal["causal", "zero_phase"]
FORMS = ("causal", "zero_phase")

_ANTI_ALIAS_ORDER = 8
_ANTI_ALIAS_STOP_DB = {"causal": 46.0, "zero_phase": 23.0}
_SHARE_BEYOND_REACH = 0.01


def band_pass_sos(
    low_hz: float | None, high_hz: float | None, *, order: int, rate_hz: float
) -> Float[np.ndarray, "sections 6"]:
    """Design a Butterworth band-pass, or a low- or high-pass where the other edge is None.

    Returns (sections, 6). The edges are designed apart: one of 0.05 Hz beside one of 50 Hz stays well conditioned.

    Raises:
        InputError: no edge is given, or one does not fit the rate.
    """
    edges = [edge for edge in (low_hz, high_hz) if edge is not None]
    if not edges:
        raise InputError("`low_hz` and `high_hz` must not both be null. Give at least one edge, or leave the step out.")
    _check_below_nyquist(max(edges), rate_hz)
    parts = []
    if low_hz is not None:
        parts.append(signal.butter(order, low_hz, "highpass", fs=rate_hz, output="sos"))
    if high_hz is not None:
        parts.append(signal.butter(order, high_hz, "lowpass", fs=rate_hz, output="sos"))
    return np.vstack(parts)


def notch_sos(frequencies_hz: Sequence[float], *, quality: float, rate_hz: float) -> Float[np.ndarray, "sections 6"]:
    """Design one notch (sections, 6) a frequency, each frequency / quality wide at half power."""
    _check_below_nyquist(max(frequencies_hz), rate_hz)
    return np.vstack([signal.tf2sos(*signal.iirnotch(f, quality, fs=rate_hz)) for f in frequencies_hz])


def anti_alias_sos(new_rate_hz: float, *, rate_hz: float, form: Form) -> Float[np.ndarray, "sections 6"]:
    """Design a Chebyshev low-pass (sections, 6) that in this form leaves 0.5 % or less of what would fold back."""
    _check_below_nyquist(new_rate_hz / 2, rate_hz)
    stop_db = _ANTI_ALIAS_STOP_DB[form]
    return np.asarray(signal.cheby2(_ANTI_ALIAS_ORDER, stop_db, new_rate_hz / 2, fs=rate_hz, output="sos"))


def causal_filter(
    values: Float[np.ndarray, "samples columns"], sos: Float[np.ndarray, "sections 6"]
) -> Float[np.ndarray, "samples columns"]:
    """Filter each column of (samples, columns) from the past only."""
    values = np.asarray(values, np.float64)
    return signal.sosfilt(sos, values, axis=0, zi=steady_state(sos)[:, :, None] * values[0])[0]


def zero_phase_filter(
    values: Float[np.ndarray, "samples columns"], sos: Float[np.ndarray, "sections 6"]
) -> Float[np.ndarray, "samples columns"]:
    """Filter each column of (samples, columns) forward, then backward."""
    return causal_filter(causal_filter(values, sos)[::-1], sos)[::-1]


def steady_state(sos: Float[np.ndarray, "sections 6"]) -> Float[np.ndarray, "sections 2"]:
    """Return the state (sections, 2) after an endless run of ones."""
    return signal.sosfilt_zi(sos)


def response(
    sos: Float[np.ndarray, "sections 6"],
    frequencies_hz: Float[np.ndarray, " frequencies"],
    *,
    rate_hz: float,
    form: Form,
) -> Complex[np.ndarray, " frequencies"]:
    """Return gain and phase at each frequency, (frequencies,) and complex."""
    z = np.exp(-2j * np.pi * frequencies_hz / rate_hz)[:, None]
    gain = np.prod(
        (sos[:, 0] + (sos[:, 1] + sos[:, 2] * z) * z) / (sos[:, 3] + (sos[:, 4] + sos[:, 5] * z) * z), axis=1
    )
    return gain if form == "causal" else (np.abs(gain) ** 2).astype(complex)


def group_delay_ms(
    sos: Float[np.ndarray, "sections 6"], low_hz: float, high_hz: float, *, rate_hz: float, form: Form
) -> float:
    """Return the mean delay by a filter (sections, 6) of waves and envelopes between two frequencies."""
    frequencies_hz = np.linspace(low_hz, high_hz, 200)
    return mean_delay_ms(response(sos, frequencies_hz, rate_hz=rate_hz, form=form), frequencies_hz)


def mean_delay_ms(
    gain: Complex[np.ndarray, " frequencies"], frequencies_hz: Float[np.ndarray, " frequencies"]
) -> float:
    """Return the mean group delay over a densely sampled response (frequencies,): the phase lost, over the band."""
    phase = np.unwrap(np.angle(gain))
    return float(-1000 * (phase[-1] - phase[0]) / (2 * np.pi * (frequencies_hz[-1] - frequencies_hz[0])))


def reach_s(sos: Float[np.ndarray, "sections 6"], *, rate_hz: float, form: Form) -> float:
    """Return the time around a sample beyond which lies 1 % or less of the weight of a filter (sections, 6)."""
    return settle_samples(sos, form=form, share=_SHARE_BEYOND_REACH) / rate_hz


def settle_samples(sos: Float[np.ndarray, "sections 6"], *, form: Form, share: float) -> int:
    """Return the samples after which `share` of the impulse response's absolute sum is left; `sos` (sections, 6)."""
    length = _decay_samples(sos, share / 100)
    weight = np.zeros(2 * length + 1)
    weight[length] = 1.0
    weight = np.asarray(signal.sosfilt(sos, weight))
    if form == "zero_phase":
        weight = np.asarray(signal.sosfilt(sos, weight[::-1]))[::-1]
    left = np.cumsum(np.abs(weight[length:])[::-1])[::-1]
    return int(np.count_nonzero(left > share * left[0]))


def check_form(form: str) -> None:
    """Refuse a form that is neither causal nor zero_phase.

    Raises:
        InputError: it is neither.
    """
    if form not in FORMS:
        raise InputError(f"`form` must be one of {', '.join(FORMS)}, got {form!r}. Choose one of them.")


def _decay_samples(sos: np.ndarray, share: float) -> int:
    """Return the samples in which the slowest pole decays to `share`, with room for poles close together."""
    slowest = max(float(np.max(np.abs(np.roots(section[3:])), initial=0.0)) for section in sos)
    if slowest >= 1:
        raise InputError("the filter is not stable at this rate. Raise its lowest edge or decimate first.")
    return int(np.ceil(1.5 * np.log(share) / np.log(max(slowest, 1e-3)))) + 10


def _check_below_nyquist(edge_hz: float, rate_hz: float) -> None:
    if not 0 < edge_hz < rate_hz / 2:
        raise InputError(
            f"a filter edge of {edge_hz:g} Hz must lie above 0 and below half the signal's rate ({rate_hz / 2:g} Hz). "
            "Lower the edge or leave the step out."
        )

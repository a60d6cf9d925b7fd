"""Every constant of the simulator, with where it comes from.

They were first fixed from the cited values and from linear decoders alone. Five of the field's were changed later,
when networks had been trained on simulated recordings: docs/simulator.md says which, and has both tables of linear
decoders. Changing one makes another corpus, whose scores compare with nobody's.
"""

import math
from dataclasses import dataclass, fields

from spikefield.errors import InputError

_MAX_CHANNELS = 96
_MAX_SUBJECTS = 26
_MIN_SESSION_S = 10.0
_MAY_BE_ZERO = ("speed_offset", "line_uv", "harmonic_uv", "hold_s", "unit_lag_max_s", "lead_s", "pause_probability")
MONTHLY = {"unit_keep": 0.85, "loading_keep": 0.97}
"""What changes where a month lies between a subject's sessions. Ours: about a sixth of the units is left after a year,
and the field's pattern correlates 0.7 with that of the first day."""


@dataclass(frozen=True)
class SimulatorConfig:
    """What is simulated. Units are in the names; a field without a source is our choice.

    The corpus
        n_sessions, n_subjects: sessions go round the subjects: a, b, a, b, ...
        session_s: length of a session; 300 s is the demo's.
        lfp_rate_hz: sampling rate of the field; high enough for beta and the first harmonic of the line.
        n_channels: channels of each subject's array, repeated when there are more subjects. 96 is the ten by ten
            multi-electrode array without its corners, as in Makin et al. 2018, J Neural Eng; with fewer, the rest is
            taken for broken.

    Movement: self-paced reaches to random targets, the task of Makin et al. 2018; the numbers are ours.
        kinematics_rate_hz: grid of hand, state and rates (method, section 1).
        workspace_cm: side of the square of targets.
        reach_min_cm: least distance between a target and the next.
        reach_base_s, reach_per_cm_s, reach_jitter: duration = (base + per_cm · distance) · (1 ± jitter); the straight
            minimum-jerk path itself is Flash & Hogan 1985, J Neurosci.
        hold_s, hold_more_s: shortest hold, and mean of the exponential time added to it.
        pause_probability, pause_s: how often a hold is a rest instead, and the bounds of a rest.
        reaction_s: bounds of the time from target to movement.

    Cortical state: shared by all sessions and subjects.
        n_state: dimensions; seven follow the drivers, the others are private.
        lead_s: how far the state runs ahead of the hand; motor cortex leads by the order of 0.1 s (Moran & Schwartz
            1999, J Neurophysiol).
        state_tau_s: low-pass of the drivers.
        position_scale_cm, velocity_scale_cm_s, speed_scale_cm_s, error_scale_cm: what counts as one; that cortex
            carries direction and velocity: Georgopoulos et al. 1982, J Neurosci; speed: Moran & Schwartz 1999.
        speed_offset: subtracted from scaled speed so that its mean is near 0.
        private_hz, private_exponent: corner and fall of the private dynamics' power.
        private_shared_std, private_own_std: their size along the driven and the other dimensions.

    Spikes
        n_units: bounds of the number of units of a session.
        rate_hz: bounds of a unit's mean rate, log-uniform between.
        rate_max_hz: ceiling of any rate.
        depth: bounds of a unit's modulation: rate ∝ softplus(1 + depth · direction · state).
        unit_lag_max_s: units lead or lag the state by up to this.
        unit_keep: None for other units in every session; else the share of a session's units that the subject's next
            one still has, so that spikes fade over the months and none come anew.

    Field, in microvolts
        pitch_um: distance of neighbouring electrodes, 0.4 mm on the array of Makin et al. 2018.
        field_lowpass_hz: the local motor potential is the field's slow part (Mehring et al. 2003, Nat Neurosci;
            Flint et al. 2012, J Neural Eng; Stavisky et al. 2015, J Neural Eng).
        movement_uv, movement_length_um: its root mean square and the reach of its pattern over the array.
        loading_keep: correlation of the loadings of one session with the next of the same subject.
        nuisance_uv, nuisance_sources, nuisance_length_um: field shared by the whole array and blind to movement.
        background_uv: what each channel has to itself.
        field_exponent, field_knee_hz: fall of power with frequency of both, and where it levels off below.
        gain_spread: standard deviation of a channel's log gain.
        beta_uv, beta_hz, beta_per_s, beta_s: amplitude, frequency, rate and length of beta bursts.
        beta_suppression, beta_speed_cm_s: share of the amplitude lost in movement, full from this speed; beta falls
            during movement (Sanes & Donoghue 1993, PNAS).
        wave_cm_s: speed of the travelling waves (Rubino, Robbins & Hatsopoulos 2006, Nat Neurosci), 10–35 cm/s
            in Takahashi et al. 2011, Front Hum Neurosci, which also has two opposite main directions.
        wave_spread_rad: scatter about these directions.
        line_hz, line_uv, harmonic_uv: mains, and its second harmonic.
        spike_uv, spike_rise_s, spike_decay_s, spike_length_um: slow negative potential that each spike leaves around
            its unit.
    """

    n_sessions: int = 4
    n_subjects: int = 1
    session_s: float = 300.0
    lfp_rate_hz: float = 500.0
    n_channels: tuple[int, ...] = (96, 64)

    kinematics_rate_hz: float = 100.0
    workspace_cm: float = 20.0
    reach_min_cm: float = 4.0
    reach_base_s: float = 0.4
    reach_per_cm_s: float = 0.03
    reach_jitter: float = 0.15
    hold_s: float = 0.1
    hold_more_s: float = 0.15
    pause_probability: float = 0.1
    pause_s: tuple[float, float] = (0.8, 2.5)
    reaction_s: tuple[float, float] = (0.2, 0.35)

    n_state: int = 10
    lead_s: float = 0.1
    state_tau_s: float = 0.04
    position_scale_cm: float = 6.0
    velocity_scale_cm_s: float = 7.0
    speed_scale_cm_s: float = 10.0
    error_scale_cm: float = 5.0
    speed_offset: float = 0.8
    private_hz: float = 1.0
    private_exponent: float = 4.0
    private_shared_std: float = 0.15
    private_own_std: float = 1.0

    n_units: tuple[int, int] = (60, 110)
    rate_hz: tuple[float, float] = (2.0, 15.0)
    rate_max_hz: float = 100.0
    depth: tuple[float, float] = (0.7, 1.4)
    unit_lag_max_s: float = 0.05
    unit_keep: float | None = None

    pitch_um: float = 400.0
    field_lowpass_hz: float = 5.0
    movement_uv: float = 16.0
    movement_length_um: float = 600.0
    loading_keep: float = 0.99
    nuisance_uv: float = 60.0
    nuisance_sources: int = 6
    nuisance_length_um: float = 3000.0
    background_uv: float = 30.0
    field_exponent: float = 2.0
    field_knee_hz: float = 0.2
    gain_spread: float = 0.15
    beta_uv: float = 30.0
    beta_hz: tuple[float, float] = (13.0, 30.0)
    beta_per_s: float = 4.0
    beta_s: tuple[float, float] = (0.15, 0.5)
    beta_suppression: float = 0.8
    beta_speed_cm_s: float = 8.0
    wave_cm_s: tuple[float, float] = (10.0, 35.0)
    wave_spread_rad: float = 0.4
    line_hz: float = 60.0
    line_uv: float = 3.0
    harmonic_uv: float = 1.0
    spike_uv: float = 4.0
    spike_rise_s: float = 0.01
    spike_decay_s: float = 0.04
    spike_length_um: float = 300.0

    def __post_init__(self) -> None:
        for entry in fields(self):
            if getattr(self, entry.name) is not None:
                _check_field(entry.name, getattr(self, entry.name))
        if self.unit_keep is not None and self.unit_keep > 1:
            raise InputError(f"`unit_keep` must be a share, at most 1, got {self.unit_keep}. Leave it out for others.")
        if not all(1 <= n <= _MAX_CHANNELS for n in self.n_channels):
            raise InputError(f"`n_channels` must be 1 to {_MAX_CHANNELS} each, got {self.n_channels}. Choose fewer.")
        if self.n_subjects > _MAX_SUBJECTS:
            raise InputError(f"`n_subjects` must be at most {_MAX_SUBJECTS}, got {self.n_subjects}. Choose fewer.")
        if self.session_s < _MIN_SESSION_S:
            raise InputError(f"`session_s` must be at least {_MIN_SESSION_S:g}, got {self.session_s}. Simulate longer.")
        if self.lfp_rate_hz <= 4 * self.line_hz:
            raise InputError(
                f"`lfp_rate_hz` must be above {4 * self.line_hz:g}, to hold the line's harmonic, "
                f"got {self.lfp_rate_hz}. Sample faster."
            )
        if self.n_state < 8:
            raise InputError(
                f"`n_state` must be at least 8, for seven drivers and privacy, got {self.n_state}. Add some."
            )


def _check_field(name: str, value: object) -> None:
    """Every number is finite and positive, or not negative where nothing is a sensible amount; bounds are in order."""
    numbers = value if isinstance(value, tuple) else (value,)
    least = "0 or more" if name in _MAY_BE_ZERO else "above 0"
    good = bool(numbers) and all(isinstance(n, int | float) and math.isfinite(n) for n in numbers)
    if not good or any(n < 0 or (n == 0 and name not in _MAY_BE_ZERO) for n in numbers):  # type: ignore[operator]
        raise InputError(f"`{name}` must be finite and {least}, got {value}. Leave it out for the default.")
    if len(numbers) == 2 and name != "n_channels" and numbers[0] > numbers[1]:
        raise InputError(f"`{name}` must be lower then upper bound, got {value}. Swap them.")

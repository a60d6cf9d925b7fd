"""The signal chain as a person writes it: a list of steps, by name or from a preset, to and from plain dicts."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from types import UnionType
from typing import Any, Literal, get_args, get_origin

from spikefield.errors import InputError
from spikefield.signals.band_pass import AntiAliasConfig, BandPassConfig
from spikefield.signals.band_power import BandPowerConfig
from spikefield.signals.decimate import DecimateConfig
from spikefield.signals.notch import NotchConfig
from spikefield.signals.reference import ReferenceConfig
from spikefield.signals.resample import BinsConfig
from spikefield.signals.scaling import LogConfig, ZScoreConfig
from spikefield.signals.steps import StepConfig

STEPS: dict[str, type[StepConfig]] = {
    config.step: config
    for config in (
        NotchConfig,
        ReferenceConfig,
        BandPassConfig,
        AntiAliasConfig,
        DecimateConfig,
        BandPowerConfig,
        BinsConfig,
        LogConfig,
        ZScoreConfig,
    )
}


@dataclass(frozen=True)
class ChainConfig:
    """The steps in order; exactly one of them, `bins`, brings the signal to the bin grid."""

    steps: tuple[StepConfig, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(self.steps))
        bins = [i for i, step in enumerate(self.steps) if isinstance(step, BinsConfig)]
        if len(bins) != 1:
            raise InputError(
                f"`steps` must hold the step bins exactly once, got it {len(bins)} times. "
                "Put it where samples become bins."
            )
        for i, step in enumerate(self.steps):
            if i > bins[0] and step.place == "samples":
                raise InputError(f"`steps`: {step.step} works on samples, so it must stand before bins. Move it up.")
            if i < bins[0] and step.place == "bins":
                raise InputError(f"`steps`: {step.step} works on bins, so it must stand after bins. Move it down.")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for YAML and JSON."""
        return {"steps": [{"step": step.step, **_plain(asdict(step))} for step in self.steps]}  # type: ignore[call-overload]

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "ChainConfig":
        """Build from plain values, as written by `to_dict` or by hand.

        Raises:
            InputError: an unknown key, step or field; the message lists the allowed ones.
        """
        if set(content) != {"steps"} or not isinstance(content["steps"], list | tuple):
            raise InputError(
                f"a signal chain must hold one list `steps`, got {sorted(map(str, content))}. "
                "Write `steps:` and a list below it."
            )
        return cls(steps=tuple(_step(i, entry) for i, entry in enumerate(content["steps"])))


def _step(index: int, entry: Any) -> StepConfig:
    where = f"steps[{index}]"
    if not isinstance(entry, Mapping) or "step" not in entry:
        raise InputError(
            f"`{where}` must be a mapping with the key `step`, got {entry!r}. "
            "Name the step first, such as `step: notch`."
        )
    if entry["step"] not in STEPS:
        raise InputError(
            f"`{where}.step` must be one of {', '.join(sorted(STEPS))}, got {entry['step']!r}. Choose one of them."
        )
    kind = STEPS[entry["step"]]
    allowed = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    given = {key: value for key, value in entry.items() if key != "step"}
    if unknown := sorted(set(given) - set(allowed)):
        raise InputError(
            f"`{where}` ({kind.step}) does not know {unknown[0]!r}. Use only {', '.join(allowed) or 'no key'}."
        )
    values = {key: _typed(value, allowed[key].type, f"{where}.{key}") for key, value in given.items()}
    try:
        return kind(**values)
    except InputError as error:
        raise InputError(f"`{where}` ({kind.step}): {error}") from error


def _typed(value: Any, hint: Any, where: str) -> Any:
    """Return a plain value as its field's type: whole numbers serve as floats and lists as tuples."""
    inner = get_args(hint)
    if isinstance(hint, UnionType):
        return None if value is None else _typed(value, inner[0], where)
    if get_origin(hint) is tuple and isinstance(value, list | tuple):
        hints = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
        if len(hints) == len(value):
            return tuple(_typed(item, hints[i], f"{where}[{i}]") for i, item in enumerate(value))
    if get_origin(hint) is Literal:
        if value in inner:
            return value
        raise InputError(f"`{where}` must be one of {', '.join(inner)}, got {value!r}. Choose one of them.")
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint in (int, bool) and type(value) is hint:
        return value
    raise InputError(
        f"`{where}` must be of type {getattr(hint, '__name__', hint)}, got {value!r}. Write a value of that type."
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


BINS = ChainConfig(steps=(NotchConfig(), ReferenceConfig(), BinsConfig(), ZScoreConfig()))
"""Light and causal: notch where mains stand out, common average, mean over each bin, z-score."""

PAPER = ChainConfig(
    steps=(
        DecimateConfig(form="zero_phase"),
        NotchConfig(mains_hz=60.0, form="zero_phase"),
        ReferenceConfig(),
        BandPassConfig(high_hz=50.0, order=4, form="zero_phase"),
        AntiAliasConfig(form="zero_phase"),
        BinsConfig(method="center"),
        BandPassConfig(low_hz=0.05, order=2, form="zero_phase"),
        ZScoreConfig(),
    )
)
"""Zero-phase, as published: 60 Hz and harmonics out, common average, 0.05–50 Hz, the bin grid, z-score."""

REALTIME = ChainConfig(
    steps=(
        NotchConfig(),
        ReferenceConfig(),
        AntiAliasConfig(),
        BinsConfig(),
        BandPassConfig(low_hz=0.05, order=2),
        ZScoreConfig(),
    )
)
"""The causal counterpart of `paper`, for a live decoder: nothing from the future, the delay stated."""

BAND_POWER = ChainConfig(
    steps=(NotchConfig(), ReferenceConfig(), BandPowerConfig(), BinsConfig(), ZScoreConfig(robust=False))
)
"""Causal local motor potential and band power, nine features a channel."""

PRESETS = {"bins": BINS, "paper": PAPER, "realtime": REALTIME, "band_power": BAND_POWER}


def chain_of(named: str | Mapping[str, Any]) -> ChainConfig:
    """Return a preset by its name, or a chain of one's own from its plain values.

    Raises:
        InputError: no such preset, or an unknown key, step or field.
    """
    return preset(named) if isinstance(named, str) else ChainConfig.from_dict(named)


def preset(name: str) -> ChainConfig:
    """Return a preset by name.

    Raises:
        InputError: no such preset.
    """
    if name not in PRESETS:
        raise InputError(f"`preset` must be one of {', '.join(PRESETS)}, got {name!r}. Name one of them.")
    return PRESETS[name]

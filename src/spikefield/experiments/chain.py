"""`spikefield chain`: what a signal chain does to each session, with its delay in ms, before anything is trained."""

from pathlib import Path
from typing import Any

import yaml

from spikefield.errors import InputError
from spikefield.recordings import session as layout
from spikefield.windows.binned import BinningConfig, bin_session, choose_bin_width_ms

_PREFERRED_BIN_MS = 20.0


def chain(data: Path, *, preset: str = "realtime", bin_width_ms: float | None = None) -> None:
    """Print each step of a signal chain as fitted on a session's training time, its reach and its delay.

    Args:
        data: folder of prepared sessions, or one of them; those without field are left out.
        preset: bins, paper, realtime or band_power, or a YAML file that holds the steps of a chain of one's own.
        bin_width_ms: width of the bins; by default 20 ms, or what a recording's own grid demands.

    Raises:
        InputError: no session of `data` holds a field potential.
    """
    told = 0
    steps = _own(Path(preset)) if preset.endswith((".yaml", ".yml")) else preset
    for path in [data] if data.is_file() else layout.session_paths(data):
        with layout.load(path) as session:
            width, _ = choose_bin_width_ms([session], preferred_ms=_PREFERRED_BIN_MS, asked_ms=bin_width_ms)
            config = BinningConfig(bin_width_ms=width, chain=steps)
            if layout.has_lfp(session) and (fitted := bin_session(session, config=config).chain) is not None:
                described = "\n  ".join(fitted.describe().splitlines())
                print(f"{session.session.id}: {preset}, bins of {width:g} ms\n  {described}")
                told += 1
    if not told:
        raise InputError("`data` holds no session with a field potential. Prepare recordings that have one.")


def _own(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        raise InputError(f"{path}: is not YAML ({' '.join(str(error).split())}). Write a list `steps`.") from error
    if not isinstance(content, dict):
        raise InputError(
            f"{path}: must hold a list `steps`, got {type(content).__name__}. Write `steps:` and a list below it."
        )
    return content


__all__ = ["chain"]

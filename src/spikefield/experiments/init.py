"""`spikefield init`: look at a folder of recordings, write a commented experiment.yaml, and say the next command."""

import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import spikefield.files as files
from spikefield.config import PRESETS, preset_path
from spikefield.errors import InputError
from spikefield.experiments.starting_point import PREPARED, StartingPoint, as_yaml, look
from spikefield.next_step import tell_next

log = logging.getLogger("spikefield")


def init(
    data: Path,
    *,
    out: Path = Path("experiment.yaml"),
    preset: str | None = None,
    behavior: list[str] | None = None,
    seeds: list[int] | None = None,
) -> None:
    """Look at recordings or prepared sessions, write a commented experiment.yaml, and say the next command.

    What no flag says is asked where a person sits at the terminal, and left at its default elsewhere.

    Args:
        data: folder of recordings or of prepared sessions, or one recording.
        out: configuration file to write.
        preset: size of the networks and length of training; by default quick.
        behavior: names of the series of behaviour of recordings that are not prepared; by default the reader's choice.
        seeds: one run a seed; by default 0.

    Raises:
        InputError: `out` exists.
    """
    if out.exists():
        raise InputError(f"`out` {out} exists. Choose another file, or remove it first.")
    files.check_writable(out)
    found = look(data)
    print("\n".join(found.facts))
    names = _choose_behavior(found, behavior)
    chosen = preset or _ask(f"preset, one of {', '.join(PRESETS)}", "quick", _known_preset)
    runs = seeds or _ask("seeds, one run each", "0", _whole_numbers)
    files.write_text(out, as_yaml(found, preset=_known_preset(chosen), seeds=runs, file=out))
    print(f"written: {out}")
    if found.prepared:
        tell_next("experiment", "--config", out)
    else:
        tell_next("prepare", data, "--out", PREPARED, *(["--behavior", *names] if names else []))


def _choose_behavior(found: StartingPoint, wanted: Sequence[str] | None) -> Sequence[str]:
    """Return the series to name to `prepare`; none leaves the choice to the reader."""
    if wanted and found.prepared:
        raise InputError(
            f"`behavior` must be chosen before preparing, got {wanted[0]!r} for prepared sessions. Leave it out."
        )

    def known(text: str) -> list[str]:
        return _known_series(text.split(), found.behavior)

    if wanted:
        return _known_series(wanted, found.behavior)
    if found.prepared or len(found.behavior) < 2:
        return []
    return _ask(f"behaviour, some of {', '.join(found.behavior)}, or nothing for the reader's choice", "", known)


def _known_series(names: Sequence[str], known: Sequence[str]) -> list[str]:
    if unknown := [name for name in names if name not in known]:
        raise InputError(
            f"`behavior` must be of {', '.join(known) or 'no series, for there is none'}, got {unknown[0]!r}. "
            "See them with `spikefield inspect`."
        )
    return list(names)


def _known_preset(name: str) -> str:
    preset_path(name)
    return name


def _whole_numbers(text: str) -> list[int]:
    try:
        return [int(word) for word in text.split()]
    except ValueError as error:
        raise InputError(f"`seeds` must be whole numbers, got {text!r}. Write them like this: 0 1 2.") from error


def _ask(question: str, default: str, understand: Callable[[str], Any]) -> Any:
    """Ask until the answer is understood; where nobody can answer, take the default."""
    while sys.stdin.isatty():
        try:
            return understand(input(f"{question} [{default}]: ").strip() or default)
        except EOFError:
            break
        except InputError as error:
            print(error)
    return understand(default)


__all__ = ["init"]

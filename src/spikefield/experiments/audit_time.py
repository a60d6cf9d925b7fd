"""What the audit says of time: the protocol, the splits, their guards, and the statistics fitted on training time."""

from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Float

import spikefield.files as files
from spikefield.artifact import channels_of
from spikefield.experiments.finished import Finished
from spikefield.signals.chain import FittedChain

_KINDS = ("train", "valid", "test")
_TOLERANCE = 1e-4
_ROUNDING_S = 1e-6


def protocol(done: Finished) -> list[str]:
    """The split is by blocks, and what run.json declares is so."""
    leaking = sorted(s for s, split in _saved(done).items() if split["leaks"])
    if done.run.get("leaks") or done.run.get("protocol") != "blocked":
        return [f"the protocol {done.run.get('protocol')!r} is declared to leak"]
    return [f"{', '.join(leaking)}: the split leaks, but run.json declares that it does not"] if leaking else []


def splits(done: Finished) -> list[str]:
    """Every saved split is the one that data and configuration give, and every model has the same."""
    saved, found = _saved(done), []
    for session in done.corpus.sessions:
        fresh = session.split.to_dict(bin_width_ms=session.bin_width_ms, start_s=session.start_s)
        if saved.get(session.session_id) != fresh:
            found.append(f"{session.session_id}: the saved split is not that of the data and the configuration")
    for name, model in done.models.items():
        different = [s for s, split in model.splits.items() if split != saved.get(s)]
        found += [f"{name}: was made with another split of {s}" for s in different]
        found += [f"{name}: holds no split of {s}" for s in model.trained_on if s not in model.splits]
    return found


def guards(done: Finished) -> list[str]:
    """Between times of different kinds lies twice what the filters reach, and the guard that was asked for."""
    chains = [(name, s, chain) for name, model in done.models.items() for s, chain in model.chains.items()]
    chains += [("the data", s.session_id, s.chain) for s in done.corpus.sessions if s.chain is not None]
    reach_s: dict[str, float] = {}
    for _, session_id, chain in chains:
        reach_s[session_id] = max(reach_s.get(session_id, 0.0), chain.reach_s)
    found = []
    for session_id, split in _saved(done).items():
        needed_s = 2 * (reach_s.get(session_id, 0.0) + done.config.binning.split.guard_s)
        for first, second in combinations(_KINDS, 2):
            apart_s = _distance_s(split[first], split[second])
            if apart_s < max(needed_s, split["bin_width_ms"] / 1000) - _ROUNDING_S:
                found.append(
                    f"{session_id}: {first} and {second} are {max(apart_s, 0):.2f} s apart, reach and guard ask for "
                    f"{needed_s:.2f} s"
                )
    return found


def statistics(done: Finished) -> list[str]:
    """Signal chains and the choice of units, as the models hold them, are those of training time."""
    found = []
    for name, model in done.models.items():
        modalities = model.encoder.config.modalities
        for session_id, known in model.sessions.items():
            if (session := done.session(session_id)) is None:
                continue
            if "spikes" in modalities and channels_of(session, modalities) != list(known["channels"]):
                found.append(f"{name}: the units of {session_id} are not those that training time selects")
            held = model.chains.get(session_id)
            if "lfp" in modalities and not (held and session.chain and _alike(held, session.chain)):
                found.append(f"{name}: the statistics of {session_id} are not those of its training time")
    return found


def _saved(done: Finished) -> dict[str, dict[str, Any]]:
    paths = sorted((done.out / "splits").glob("*.json"))
    return {path.stem: {k: v for k, v in files.read_json(path).items() if k != "session"} for path in paths}


def _distance_s(first: list[list[float]], second: list[list[float]]) -> float:
    """Return the smallest distance between intervals of two kinds; negative where they overlap."""
    if not first or not second:
        return float("inf")
    one, other = np.asarray(first), np.asarray(second)
    return float(np.maximum(other[None, :, 0] - one[:, None, 1], one[:, None, 0] - other[None, :, 1]).min())


def _alike(held: FittedChain, fresh: FittedChain) -> bool:
    one, other = held.arrays(), fresh.arrays()
    return (
        set(one) == set(other)
        and held.to_dict()["config"] == fresh.to_dict()["config"]
        and held.channel_ids == fresh.channel_ids
        and held.bad_channels == fresh.bad_channels
        and all(_close(one[k], other[k]) for k in one)
    )


def _close(one: Float[np.ndarray, "..."], other: Float[np.ndarray, "..."]) -> bool:
    if one.shape != other.shape:
        return False
    size = float(np.abs(other).max(initial=1e-12))
    return bool(np.allclose(one, other, rtol=_TOLERANCE, atol=_TOLERANCE * 1e-2 * size, equal_nan=True))

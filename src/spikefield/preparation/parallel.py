"""Many recordings at once: one processor each on Ray, here or on a cluster; outcomes come as they finish."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from spikefield.errors import InputError
from spikefield.preparation.source import Outcome

Work = Callable[[Path], Outcome]
_STORE_BYTES = 100 << 20


def do_all(work: Work, sources: Sequence[Path], *, workers: int | None, address: str | None) -> Iterator[Outcome]:
    """Do the sources on Ray; without it where there is one at a time at most and no cluster is named."""
    if address is None and (len(sources) < 2 or workers == 1):
        return one_by_one(work, sources)
    return on_ray(work, sources, workers=workers, address=address)


def one_by_one(work: Work, sources: Sequence[Path]) -> Iterator[Outcome]:
    """Do the sources in this process, in order."""
    for source in sources:
        yield work(source)


def on_ray(work: Work, sources: Sequence[Path], *, workers: int | None, address: str | None) -> Iterator[Outcome]:
    """Do the sources on Ray, at most `workers` at a time; a worker that dies fails its recording only.

    Raises:
        InputError: no cluster answers at `address`.
    """
    ray = _quiet_ray()
    here = not ray.is_initialized()
    if here:
        _start(ray, workers=workers, address=address)
    try:
        remote = ray.remote(num_cpus=1, max_retries=0)(_do)
        waiting, running = list(reversed(sources)), {}
        while waiting or running:
            while waiting and len(running) < (workers or len(sources)):
                source = waiting.pop()
                running[remote.remote(work, source)] = source
            (ready, *_), _ = ray.wait(list(running), num_returns=1)
            yield _outcome(ray, ready, running.pop(ready))
    finally:
        if here:
            ray.shutdown()


def _do(work: Work, source: Path) -> Outcome:
    return work(source)


def _quiet_ray():  # noqa: ANN202
    """Import Ray with its banners, its usage reports and its warnings off."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    return ray


def _start(ray, *, workers: int | None, address: str | None) -> None:  # noqa: ANN001
    own = {} if address else {"num_cpus": workers, "include_dashboard": False, "object_store_memory": _STORE_BYTES}
    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, RuntimeError, ValueError) as error:
        if not address:
            raise
        raise InputError(
            f"`ray_address` {address!r}: no cluster answers there, or it wants another token than RAY_AUTH_TOKEN. "
            "Start it, give its token, or leave the address out."
        ) from error


def _outcome(ray, ready: object, source: Path) -> Outcome:  # noqa: ANN001
    try:
        return ray.get(ready)
    except ray.exceptions.RayError as error:
        why = f"{type(error).__name__}: its worker died, perhaps for want of memory"
        return Outcome(source=source, state="failed", error=f"{source}: {why}. Run again with fewer `workers`.")

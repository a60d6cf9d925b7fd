"""Many recordings at once: one processor each on Ray, here or on a cluster; outcomes come as they finish."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from spikefield.cluster import on_ray
from spikefield.preparation.source import Outcome

Work = Callable[[Path], Outcome]
_STORE_BYTES = 100 << 20


def do_all(work: Work, sources: Sequence[Path], *, workers: int | None, address: str | None) -> Iterator[Outcome]:
    """Do the sources on Ray; without it where there is one at a time at most and no cluster is named."""
    if address is None and (len(sources) < 2 or workers == 1):
        return one_by_one(work, sources)
    return side_by_side(work, sources, workers=workers, address=address)


def one_by_one(work: Work, sources: Sequence[Path]) -> Iterator[Outcome]:
    """Do the sources in this process, in order."""
    for source in sources:
        yield work(source)


def side_by_side(work: Work, sources: Sequence[Path], *, workers: int | None, address: str | None) -> Iterator[Outcome]:
    """Do the sources on Ray, at most `workers` at a time; a worker that dies fails its recording only.

    Raises:
        InputError: no cluster answers at `address`.
    """
    with on_ray(workers=workers, address=address, store_bytes=_STORE_BYTES) as ray:
        remote = ray.remote(num_cpus=1, max_retries=0)(_do)
        waiting, running = list(reversed(sources)), {}
        while waiting or running:
            while waiting and len(running) < (workers or len(sources)):
                source = waiting.pop()
                running[remote.remote(work, source)] = source
            (ready, *_), _ = ray.wait(list(running), num_returns=1)
            yield _outcome(ray, ready, running.pop(ready))


def _do(work: Work, source: Path) -> Outcome:
    return work(source)


def _outcome(ray, ready: object, source: Path) -> Outcome:  # noqa: ANN001
    try:
        return ray.get(ready)
    except ray.exceptions.RayError as error:
        why = f"{type(error).__name__}: its worker died, perhaps for want of memory"
        return Outcome(source=source, state="failed", error=f"{source}: {why}. Run again with fewer `workers`.")

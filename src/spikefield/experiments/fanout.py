"""Run independent pieces of an experiment side by side on Ray, on this machine or a cluster; one bar for them all."""

import os
import platform
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from tqdm.auto import tqdm

from spikefield.cluster import on_ray
from spikefield.errors import InputError

_RETRIES = 4  # of a task whose worker or machine was lost; it goes on from its checkpoint


def fan_out(
    work: Callable[..., Any],
    tasks: Sequence[tuple[Any, ...]],
    *,
    workers: int | None = None,
    ray_address: str | None = None,
    progress: bool = True,
) -> list[Any]:
    """Call `work(*task)` for every task and return the results in order.

    Args:
        work: a picklable function; what its tasks share should be bound to it.
        tasks: arguments, the longest first.
        workers: how many run at once, each on one core; by default one a core, and one in all where there is a GPU.
        ray_address: a running Ray cluster to use instead of this machine's cores.
        progress: whether to show a bar.

    Raises:
        InputError: no cluster answers, or a caller's mistake inside a task; the other tasks are given up.
    """
    if workers is not None and workers < 1:
        raise InputError(f"`workers` must be 1 or more, got {workers}. Leave it out for one a core.")
    if workers is None:
        workers = default_workers()
    if ray_address is None and min(workers, len(tasks)) == 1:
        return [work(*task) for task in tasks]
    return _on_ray(work, tasks, workers=workers, address=ray_address, progress=progress)


def default_workers() -> int:
    """Return how many tasks run at once by default: one a core, and one in all where there is a GPU."""
    return 1 if torch.cuda.is_available() else os.cpu_count() or 1


def _on_ray(
    work: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], *, workers: int, address: str | None, progress: bool
) -> list[Any]:
    with on_ray(workers=workers, address=address) as ray:
        shared = ray.put(work)
        remote = ray.remote(num_cpus=1, max_retries=_RETRIES)(_one_thread)
        pending = [remote.remote(shared, task) for task in tasks]
        order = {reference: i for i, reference in enumerate(pending)}
        results: list[Any] = [None] * len(tasks)
        cores = int(ray.cluster_resources().get("CPU", workers))
        with tqdm(total=len(tasks), desc=f"runs on {cores} cores", disable=None if progress else True) as bar:
            while pending:
                bar.set_postfix(running=min(cores, len(pending)), waiting=max(len(pending) - cores, 0))
                done, pending = ray.wait(pending)
                for reference in done:
                    i = order[reference]
                    results[i], seconds, node = _result(ray, reference)
                    bar.update()
                    if progress:
                        bar.write(_row(tasks[i], seconds, node))
        return results


def _result(ray: Any, reference: Any) -> tuple[Any, float, str]:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        raise cause if isinstance(cause, InputError) else error from None


def _one_thread(work: Callable[..., Any], task: tuple[Any, ...]) -> tuple[Any, float, str]:
    """Run a task on one core, so that its result does not depend on how many run beside it; say how long, and where."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    result = work(*task)
    return result, time.perf_counter() - start, platform.node()


def _row(task: tuple[Any, ...], seconds: float, node: str) -> str:
    """Return one row of the table that grows while the tasks end."""
    return f"{' '.join(str(part) for part in task if part != ''):<44} {seconds:>8.1f} s  {node}"

"""Where parallel work runs: Ray on this machine's cores, or a cluster that is named and no other.

Used by the preparation of recordings and by the stages of experiments.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from spikefield.errors import InputError


@contextmanager
def on_ray(*, workers: int | None, address: str | None, store_bytes: int | None = None) -> Iterator[Any]:
    """Give the module `ray`, started quietly and shut down after; where it runs in this process already, as it is.

    Args:
        workers: cores to use on this machine; None = all.
        address: a running cluster to use instead.
        store_bytes: memory for shared objects on this machine; None = Ray's own choice.

    Raises:
        InputError: no cluster answers at `address`.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    if ray.is_initialized():
        yield ray
        return
    own = {} if address else {"num_cpus": workers, "include_dashboard": False, "object_store_memory": store_bytes}
    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, RuntimeError, ValueError) as error:
        if not address:
            raise
        raise InputError(
            f"`ray_address` {address!r}: no cluster answers there, or it wants another token than RAY_AUTH_TOKEN. "
            "Start it, give its token, or leave the address out."
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()

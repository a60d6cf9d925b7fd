"""The rig decodes on one thread: a bin is too small to share, and waking helpers up costs more than they bring."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits


def one_thread() -> None:
    """Hold this process's linear algebra to one thread: that of numpy, and torch's where it is loaded."""
    threadpool_limits(1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@contextmanager
def undisturbed() -> Iterator[None]:
    """One thread, and no pause of the garbage collector over all that was loaded before."""
    one_thread()
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()

"""Lab Streaming Layer on this machine alone, where its library runs and finds its own streams."""

import functools
import uuid

import pytest

from spikefield.deploy import lsl
from spikefield.errors import InputError


def library_or_skip():
    """Return mne_lsl.lsl, or skip the test with a line that says why."""
    if why := _why_not():
        pytest.skip(f"no Lab Streaming Layer on this machine: {why}")
    return lsl.library()


@functools.cache
def _why_not() -> str:
    try:
        library = lsl.library()
    except InputError as error:
        return str(error)
    name = f"spikefield-trial-{uuid.uuid4().hex[:8]}"
    outlet = library.StreamOutlet(library.StreamInfo(name, "LFP", 1, 100.0, "float32", name))
    found = library.resolve_streams(timeout=5.0, name=name, minimum=1)
    del outlet
    return "" if found else "an outlet is not found again on the loopback"

"""Shapes are checked call by call in most tests; long runs over code that others check go without."""

import jaxtyping
import pytest


@pytest.fixture
def unchecked():
    """Run a test at the speed of the rig: no shape is checked meanwhile."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)

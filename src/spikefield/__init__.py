"""Teach a field-potential model what a spike model knows: cross-modal distillation for neural decoding."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spikefield.artifact import load as load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    """Import what `spikefield` offers when it is asked for, so that `import spikefield` costs nothing."""
    if name == "load":
        from spikefield.artifact import load

        return load
    raise AttributeError(f"module 'spikefield' has no attribute {name!r}")

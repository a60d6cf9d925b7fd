"""The processes of one run: all train, the first one writes."""

import torch.distributed


def is_first() -> bool:
    """Tell whether this process is the one that writes results; before training starts every process is."""
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def wait_for_all() -> None:
    """Wait until all processes of the run are here."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()

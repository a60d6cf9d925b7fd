"""The rig runs on one thread, and nothing that was loaded before it is searched for garbage."""

import gc

import threadpoolctl
import torch

from spikefield.deploy import threads


def test_the_rig_runs_on_one_thread():
    with threads.undisturbed():
        pools = threadpoolctl.threadpool_info()
        assert {pool["num_threads"] for pool in pools} == {1} and torch.get_num_threads() == 1
        assert gc.get_freeze_count() > 0
    assert gc.get_freeze_count() == 0

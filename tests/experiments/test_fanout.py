"""Pieces of work side by side on Ray give what they give one by one."""

import warnings
from pathlib import Path

import pytest
import torch

from spikefield.errors import InputError
from spikefield.experiments.fanout import fan_out


def work(number, text):
    if number == 7:
        raise InputError("seven is not for us")
    return number**2, text, torch.get_num_threads()


@pytest.fixture(scope="module")
def ray():
    import ray

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(
            address="local",  # never a cluster that another test runs
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            runtime_env={"env_vars": {"PYTHONPATH": str(Path(__file__).parent)}},
        )
    yield ray
    ray.shutdown()


def test_a_cluster_that_does_not_answer_is_one_line():
    with pytest.raises(InputError, match="`ray_address` 'nowhere': no cluster answers there"):
        fan_out(work, [(3, "a")], ray_address="nowhere", progress=False)


def test_one_by_one_needs_no_ray():
    assert [r[:2] for r in fan_out(work, [(3, "a"), (2, "b")], workers=1, progress=False)] == [(9, "a"), (4, "b")]
    with pytest.raises(InputError, match="seven is not for us"):
        fan_out(work, [(3, "a"), (7, "b")], workers=1, progress=False)


def test_no_worker_is_refused():
    with pytest.raises(InputError, match="`workers` must be 1 or more, got 0"):
        fan_out(work, [], workers=0)


@pytest.mark.filterwarnings("ignore")
def test_side_by_side_results_keep_their_order(ray):
    tasks = [(i, str(i)) for i in range(5)]
    assert fan_out(work, tasks, workers=2, progress=False) == [(i**2, str(i), 1) for i in range(5)]
    with pytest.raises(InputError, match="seven is not for us"):
        fan_out(work, [(3, "a"), (7, "b")], workers=2, progress=False)

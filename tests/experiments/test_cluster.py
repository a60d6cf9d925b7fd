"""Work on a cluster of two machines, here two raylets on loopback: both work, and what is lost is run again."""

import os
import signal
import time
import warnings
from pathlib import Path

import pytest

from spikefield.experiments.fanout import fan_out


def where(number, folder):
    import ray

    time.sleep(0.5)
    return number, ray.get_runtime_context().get_node_id()


def dies_once(number, folder):
    marker = Path(folder) / str(number)
    if not marker.exists():
        marker.write_text("x")
        os.kill(os.getpid(), signal.SIGKILL)
    return number**2


@pytest.fixture(scope="module")
def address():
    import ray
    from ray.cluster_utils import Cluster

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        place = {"env_vars": {"PYTHONPATH": str(Path(__file__).parent)}}
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, runtime_env=place, log_to_driver=False, logging_level="ERROR")
        yield cluster.address
        ray.shutdown()
        cluster.shutdown()


@pytest.mark.filterwarnings("ignore")
def test_both_machines_work(address, tmp_path):
    found = fan_out(where, [(i, str(tmp_path)) for i in range(6)], ray_address=address, progress=False)
    assert [number for number, _ in found] == list(range(6))
    assert len({node for _, node in found}) == 2


@pytest.mark.filterwarnings("ignore")
def test_a_lost_worker_is_replaced_and_progress_is_one_table(address, tmp_path, capsys):
    tasks = [(i, str(tmp_path)) for i in range(3)]
    assert fan_out(dies_once, tasks, ray_address=address, progress=True) == [0, 1, 4]
    rows = [line for line in capsys.readouterr().out.splitlines() if str(tmp_path) in line]
    assert len(rows) == 3 and all(" s  " in row for row in rows)

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from curator import ConfigError, Resources, Task
from curator.cluster.capacity import NodeOffer
from curator.errors import ExecutorError
from curator.executors.ray_data.plan import check_steps, cut_chain, plan_workers
from curator.executors.ray_data.rows import Row, from_frame, in_order, payload_bytes, to_frame
from curator.pipeline import build_steps
from tests.executors.stages_for_tests import AddOne, NumberTask

NODES = [NodeOffer(node_id="a", cpus=2), NodeOffer(node_id="b", cpus=2, gpus=1)]


class Asks(AddOne):
    """Asks Ray for something."""

    name = "asks"

    def __init__(self, workers=None, **spec):
        self.workers = workers
        self.spec = spec

    def num_workers(self):
        return self.workers

    def ray_stage_spec(self):
        return self.spec


class KeepsState(AddOne):
    name = "keeps_state"

    def setup(self, worker_metadata):
        self.ready = True


class KeepsTeardown(AddOne):
    def teardown(self):
        pass


@dataclass(slots=True, kw_only=True)
class ArrayTask(Task):
    array: Any = None


def plan_of(stage, nodes=NODES, **arguments):
    (step,) = build_steps([stage])
    return plan_workers(step, nodes, **arguments)


def test_a_stage_that_keeps_nothing_runs_in_tasks_and_one_with_a_setup_in_actors():
    assert not plan_of(AddOne()).uses_actors
    assert plan_of(KeepsState()).uses_actors
    assert plan_of(KeepsTeardown()).uses_actors
    assert plan_of(AddOne().with_(resources=Resources(gpus=1))).uses_actors
    assert plan_of(Asks(is_actor_stage=True)).uses_actors
    assert not plan_of(KeepsState().with_(ray_stage_spec=lambda: {"is_actor_stage": False})).uses_actors


@pytest.mark.parametrize(
    ("stage", "num_workers", "sizes"),
    [
        (AddOne(), None, (1, 4, 1)),
        (AddOne(), 3, (1, 3, 1)),
        (Asks(min_workers=2, max_workers=3), None, (2, 3, 2)),
        (Asks(min_workers=1, initial_workers=2, max_workers=3), None, (1, 3, 2)),
        (Asks(workers=2), None, (2, 2, 2)),
        (Asks(workers=9), None, (4, 4, 4)),
        (Asks(min_workers=9), 2, (2, 2, 2)),
        (AddOne().with_(resources=Resources(cpus=0)), None, (1, 4, 1)),
        (AddOne().with_(resources=Resources(gpus=0.5)), None, (1, 2, 1)),
    ],
)
def test_workers_are_as_many_as_stage_and_user_ask_for_and_the_nodes_can_hold(stage, num_workers, sizes):
    plan = plan_of(stage, num_workers=num_workers)
    assert (plan.min_workers, plan.max_workers, plan.initial_workers) == sizes


def test_a_step_that_fits_no_node_is_an_error_that_names_what_is_missing():
    with pytest.raises(
        ExecutorError, match=r"add_one: no node can hold a worker, which needs 1 CPU, 2 GPU.*1 GPU missing"
    ):
        plan_of(AddOne().with_(resources=Resources(gpus=2)))


def test_every_remote_argument_that_the_executor_sets_itself_is_refused_by_name():
    arguments = {"num_cpus": 2, "compute": "actors", "runtime_env": {}, "accelerator_type": "H200"}
    steps = build_steps([Asks(ray_remote_args=arguments), Asks(min_workers=3, max_workers=2).with_(name="other")])
    with pytest.raises(ConfigError) as raised:
        check_steps(steps)
    text = str(raised.value)
    for key in ("num_cpus", "compute", "runtime_env"):
        assert f"asks: ray_stage_spec.ray_remote_args.{key}: is set by this executor" in text
    assert "accelerator_type" not in text
    assert "other: ray_stage_spec.min_workers=3: must not be above ray_stage_spec.max_workers=2." in text


def test_a_plain_stage_that_asks_for_a_group_is_refused():
    with pytest.raises(ConfigError, match=r"asks: ray_stage_spec.is_raft_actor: .*must be a CollectiveStage"):
        check_steps(build_steps([Asks(is_raft_actor=True)]))


def test_fused_stages_share_workers_that_suit_all_of_them():
    (step,) = build_steps([Asks(min_workers=2, max_calls_per_worker=7), Asks(max_workers=3).with_(name="other")])
    plan = plan_workers(step, NODES)
    assert (plan.min_workers, plan.max_workers, plan.max_calls) == (2, 3, 7)


def test_segments_whose_least_workers_do_not_fit_together_run_one_dataset_after_the_other():
    one, two = plan_of(Asks(min_workers=1)), plan_of(Asks(min_workers=2))
    assert cut_chain([one, one], [False, False], NODES[:1]) == [range(2)]
    assert cut_chain([one, two], [False, False], NODES[:1]) == [range(1), range(1, 2)]
    assert cut_chain([one, one], [False, True], NODES[:1]) == [range(1), range(1, 2)]


def test_rows_survive_a_block_and_come_back_in_the_order_of_their_places():
    rows = [Row((2, 0), NumberTask(value=3)), Row((0, 1), NumberTask(value=2)), Row((0, 0), NumberTask(value=1))]
    assert [task.value for task in in_order(from_frame(to_frame(rows)))] == [1, 2, 3]
    assert from_frame(to_frame([])) == []


def test_a_row_says_how_large_its_payload_is_also_when_it_is_a_view():
    whole = np.zeros(1000)
    assert payload_bytes(ArrayTask(array=whole)) == payload_bytes(ArrayTask(array=whole[:])) == 8000
    assert Row((0,), ArrayTask(array=whole)).__sizeof__() > 8000

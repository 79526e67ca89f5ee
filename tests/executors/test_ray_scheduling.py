"""The parts of the Ray actor pool that decide without Ray: the flow of units, budgets, and numbers of workers."""

from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator import ConfigError, Resources
from curator.cluster.capacity import NodeOffer
from curator.errors import ExecutorError
from curator.executors.base import cut_units
from curator.executors.ray_actor_pool.budgets import PoolBudget, RunBudget, charge, forgive, verdict
from curator.executors.ray_actor_pool.calls import SegmentCalls
from curator.executors.ray_actor_pool.flow import Flow
from curator.executors.ray_actor_pool.settings import DEFAULTS, PoolSettings, read_settings
from curator.executors.ray_actor_pool.sizing import has_room, plan_segment, wanted_workers, without_reserve
from curator.executors.ray_actor_pool.units import Made, Payload, Unit
from curator.pipeline import Segment
from curator.tasks import EmptyTask, InputFile, Split, SplitTask
from tests.executors.stages_for_tests import AddOne, numbers


def children(names):
    """What a unit makes in these tests: as many tasks as its names say."""
    return [f"{'+'.join(names)}.{index}" for index in range(sum(map(len, names)) % 4)]


def in_order(names, batch_sizes):
    """What comes out if every segment is run to its end before the next one begins."""
    for size in batch_sizes:
        names = [child for unit in cut_units(names, size) for child in children(unit)]
    return names


class Cluster:
    """Stands in for workers: finishes units of a flow in any order, and loses what they made now and then."""

    def __init__(self, flow, choices, losses):
        self.flow = flow
        self.choices = choices
        self.losses = losses
        self.stored = {}
        self.results = {}

    def run(self):
        for _ in range(100_000):
            ready = [unit for unit in self.flow.open_units() if unit.ticket]
            if not ready:
                break
            self.finish(self.choices.choice(ready))
            if self.choices.random() < self.losses:
                self.flow.lose_node("n")
        assert self.flow.is_done
        return [name for place in sorted(self.results) for name in self.results[place]]

    def finish(self, unit):
        names = [self.stored[each.source.made.payload_of(each.index).reference][each.source.made.within(each.index)]
                 if hasattr(each, "source") else each.task_id for each in unit.inputs]  # fmt: skip
        made = children(names)
        if unit.segment + 1 == len(self.flow.segments):
            self.results[unit.place] = made
            self.flow.finish(unit, None, made, [])
            return
        slots = self.choices.randint(1, 3)
        count, payloads = len(made), []
        for slot in range(slots):
            reference = f"object-{len(self.stored)}"
            self.stored[reference] = made[count * slot // slots : count * (slot + 1) // slots]
            payloads.append(Payload(reference, "n", 10))
        starts = [count * slot // slots for slot in range(slots)]
        self.flow.finish(unit, Made(payloads, starts, 0, count), made, [])


@given(
    st.lists(st.integers(1, 6), max_size=12),
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
    st.sampled_from([0.0, 0.2]),
    st.randoms(use_true_random=False),
)
def test_whatever_the_order_and_the_losses_batches_and_results_are_those_of_an_ordered_run(
    sizes, batches, losses, choices
):
    names = ["x" * size for size in sizes]
    tasks = numbers(*sizes)
    for task, name in zip(tasks, names, strict=True):
        task.task_id = name
    flow = Flow(batches, cut_units(tasks, batches[0]))
    assert Cluster(flow, choices, losses).run() == in_order(names, batches)
    assert [segment.buffered_bytes for segment in flow.segments] == [0] * len(batches)
    assert [flow.num_active(number) for number in range(len(batches))] == [0] * len(batches)


def test_a_unit_that_makes_another_number_of_tasks_the_second_time_is_refused():
    flow = Flow([1, 1], [numbers(1)])
    (unit,) = flow.open_units()
    flow.finish(unit, Made([Payload("a", "n", 1)], [0], 0, 1), ["0_0"], [])
    flow.lose_node("n")
    with pytest.raises(ExecutorError, match="made 1 tasks, and 2 when it was done again"):
        flow.finish(unit, Made([Payload("b", "n", 1)], [0], 0, 2), ["0_0", "0_1"], [])


def test_a_suspect_goes_to_a_worker_that_it_has_not_ended_if_there_is_one():
    flow = Flow([1], [numbers(1)])
    ready, (unit,) = flow.ready(0), flow.open_units()
    unit.alone, unit.avoid = True, "node-a"
    flow.requeue(unit)
    both = [("node-a", "one"), ("node-b", "two")]
    assert ready.take_alone(both[0], both) is None
    assert ready.take_alone(both[1], both) is unit
    flow.requeue(unit)
    assert ready.take_alone(both[0], both[:1]) is unit


def test_work_goes_to_the_node_where_its_input_lies():
    flow = Flow([1, 1], [numbers(1), numbers(2)])
    for unit, node in zip(list(flow.open_units()), ["a", "b"], strict=True):
        flow.finish(unit, Made([Payload(node, node, 1)], [0], 0, 1), ["x"], [])
    (unit,) = flow.ready(1).take("b", 1)
    assert unit.place == (1, 0)
    assert flow.ready(1).take("b", 5)[0].place == (0, 0)


def test_a_unit_is_given_up_after_three_workers_or_two_timeouts_and_never_for_a_lost_node():
    unit = Unit(0, 0, (0,), numbers(1))
    charge(unit, "killed_worker", "a")
    charge(unit, "killed_worker", "a")
    charge(unit, "killed_worker", "b")
    assert verdict(unit, 3) == "killed_worker"
    forgive(unit, "a")
    assert verdict(unit, 3) == ""
    charge(unit, "timeout after 2 s", "b", timeout=True)
    charge(unit, "timeout after 2 s", "b", timeout=True)
    assert verdict(unit, 3) == "timeout after 2 s"


def test_workers_lost_in_a_row_end_the_run_and_a_finished_unit_starts_the_count_again():
    budget = PoolBudget("embed")
    for _ in range(2):
        for _ in range(4):
            budget.worker_lost("killed_worker")
        budget.unit_done()
    for _ in range(4):
        budget.worker_lost("killed_worker")
    with pytest.raises(ExecutorError, match="embed: 5 workers in a row were lost"):
        budget.worker_lost("killed_worker")


def test_setup_fails_the_run_with_its_first_error_after_three_failures_in_a_row():
    budget = PoolBudget("embed")
    budget.setup_failed(ValueError("zero"))
    budget.setup_done()
    budget.setup_failed(ValueError("one"))
    budget.setup_failed(ValueError("two"))
    with pytest.raises(ValueError, match="one"):
        budget.setup_failed(ValueError("three"))


def test_a_run_survives_only_so_many_losses_of_nodes():
    budget = RunBudget(1)
    budget.infrastructure_failed("node a")
    with pytest.raises(ExecutorError, match=r"node b, the 2th loss.*executor.max_node_failures=1"):
        budget.infrastructure_failed("node b")


def planned(stage=None, cpus=4.0, nodes=2, **settings):
    offers = [NodeOffer(node_id=str(node), cpus=cpus) for node in range(nodes)]
    given = PoolSettings(**settings)
    return plan_segment(Segment(0, (stage or AddOne(),)), given, without_reserve(offers, given))


class Hinted(AddOne):
    name = "hinted"

    def __init__(self, spec=None, workers=None):
        self.spec = spec or {}
        self.workers = workers

    def num_workers(self):
        return self.workers

    def ray_stage_spec(self):
        return self.spec


def test_workers_are_counted_node_by_node_with_exact_fractions():
    assert planned(AddOne().with_(resources=Resources(cpus=3))).capacity == 2
    assert planned(AddOne().with_(resources=Resources(cpus=0.1)), cpus=1.0, nodes=1).capacity == 10
    assert planned(AddOne().with_(resources=Resources(cpus=0)), cpus=3.0).capacity == 6


def test_hints_of_the_stage_win_over_the_settings_where_they_are_stricter():
    plan = planned(
        Hinted({"max_workers": 3, "min_workers": 2, "max_calls_per_worker": 7}), max_workers=5, min_workers=1
    )
    assert (plan.minimum, plan.maximum, plan.max_calls) == (2, 3, 7)
    assert planned(Hinted(workers=2), num_workers=6).fixed == 2
    assert planned(Hinted(workers=99)).fixed == 8


def test_options_that_belong_to_the_pool_are_refused():
    with pytest.raises(ConfigError, match=r"hinted: ray_stage_spec.ray_remote_args: max_restarts, num_cpus belong"):
        planned(Hinted({"ray_remote_args": {"num_cpus": 1, "max_restarts": 3}}))


def test_a_segment_that_fits_nowhere_is_refused_with_what_is_missing():
    with pytest.raises(ExecutorError, match=r"hinted: no node can hold a worker.*2 GPU"):
        planned(Hinted().with_(resources=Resources(gpus=2)))


def test_reserved_cores_are_left_to_others():
    assert planned(reserved_cpus=5).capacity == 3


@pytest.mark.parametrize(
    ("num_open", "seconds", "more", "expected"),
    [
        (0, None, True, 1),  # the minimum, while work may come
        (0, None, False, 0),
        (50, None, False, 8),  # nothing measured: all that fit
        (50, None, True, 1),  # behind another segment: one, to measure
        (50, 0.001, True, 1),  # 50 ms of work
        (50, 0.1, True, 5),
        (3, 60.0, False, 3),  # no more than there is to do
    ],
)
def test_the_number_of_workers_follows_the_backlog(num_open, seconds, more, expected):
    plan = planned(min_workers=1)
    wanted = wanted_workers(plan, num_open=num_open, seconds_per_unit=seconds, more_to_come=more)
    assert wanted == expected


def test_a_first_segment_leaves_places_to_those_behind_it():
    assert wanted_workers(planned(), num_open=50, seconds_per_unit=None, more_to_come=False, num_behind=2) == 6


def test_workers_of_other_shapes_take_room_on_their_node():
    small, large = planned().shape, planned(AddOne().with_(resources=Resources(cpus=3))).shape
    offers = [NodeOffer(node_id="a", cpus=4), NodeOffer(node_id="b", cpus=4)]
    assert has_room([small, large], large, offers)
    assert not has_room([small, small, small, small, large], large, offers)


def test_every_wrong_setting_is_named_at_once():
    with pytest.raises(ConfigError) as raised:
        read_settings({**DEFAULTS, "max_attempts": 0, "idle_timeout_s": -1, "runtime_env": "x", "reserved_gpus": True})
    assert len(raised.value.problems) == 4


@pytest.mark.parametrize(
    ("seconds", "num_ready", "depth"),
    [(None, 9, 1), (2.0, 9, 1), (0.2, 9, 2), (0.2, 2, 2), (0.2, 1, 1), (0.001, 1, 2), (0.001, 9, 2)],
)
def test_the_last_units_wait_for_whoever_is_done_first_unless_they_are_short(seconds, num_ready, depth):
    calls = SegmentCalls(0, planned(), None, is_last=True)
    if seconds is not None:
        calls.measured(Mock(units=[Mock()]), seconds, 1, 0)
    assert calls.depth(num_ready, 2) == depth


def split_unit(number, size_bytes):
    split = Split(number, InputFile("a.jsonl", size_bytes, "", "jsonl"), 0, size_bytes, size_bytes)
    return Unit(0, number, (number,), [SplitTask(task_id=str(number), split=split)])


@pytest.mark.parametrize(
    ("seconds", "num_ready", "size"),
    [(0.029, 40, 5), (0.029, 12, 4), (0.029, 7, 2), (0.029, 5, 1), (0.1, 40, 1), (2.0, 40, 1), (1e-4, 10_000, 64)],
)
def test_splits_go_together_once_two_were_short_and_fewer_do_near_the_end(seconds, num_ready, size):
    calls = SegmentCalls(0, planned(), "attempts", is_last=True)
    assert calls.group_size(num_ready, 2) == 1
    for number in range(2):
        assert calls.group_size(num_ready, 2) == 1
        calls.measured(Mock(units=[split_unit(number, 1000)]), seconds, 1, 0)
    assert calls.group_size(num_ready, 2) == size


def test_a_large_split_behind_small_ones_goes_alone():
    calls = SegmentCalls(0, planned(), "attempts", is_last=True)
    units = [split_unit(number, 1_000) for number in range(9)] + [split_unit(9, 1_000_000)] * 2
    assert calls.fitting(units) == len(units)
    calls.measured(Mock(units=units[:2]), 0.002, 2, 0)
    assert calls.group_size(1000, 2) > 10
    assert calls.fitting(units) == 9
    assert calls.fitting(units[9:]) == 1
    assert calls.fitting([]) == 0


def test_units_without_a_size_go_together_only_when_many_were_short():
    calls = SegmentCalls(0, planned(), "attempts", is_last=True)
    units = [Unit(0, number, (number,), [EmptyTask(task_id=str(number))]) for number in range(32)]
    calls.measured(Mock(units=units[:31]), 0.031, 31, 0)
    assert (calls.group_size(1000, 2), calls.fitting(units)) == (1, 32)
    calls.measured(Mock(units=units[31:]), 0.001, 1, 0)
    assert calls.group_size(1000, 2) > 1


def test_units_that_stream_go_together_only_when_many_were_short():
    calls = SegmentCalls(0, planned(), None, is_last=True)
    calls.measured(Mock(units=[Mock()] * 31), 0.031, 31, 0)
    assert calls.group_size(1000, 2) == 1
    calls.measured(Mock(units=[Mock()]), 0.001, 1, 0)
    assert calls.group_size(1000, 2) > 1

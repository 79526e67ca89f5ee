import numpy as np
import pytest

from curator import StageError
from curator.stages.collective import Call, CollectiveStage, SingleRank
from curator.tasks import EmptyTask


class Keep(CollectiveStage):
    name = "keep"

    def __init__(self, factor=1):
        self.factor = factor

    def process_batch(self, tasks):
        return list(tasks)


class Overheard(SingleRank):
    """Rank 0 of two, the other of which says what the test wants."""

    def __init__(self, other):
        super().__init__()
        self.size = 2
        self.other = other

    def _exchange(self, call):
        return [call, self.other]


@pytest.mark.parametrize("op", ["sum", "min", "max"])
@pytest.mark.parametrize("dtype", ["i1", "u2", "i4", "u8", "f2", "f4", "f8"])
def test_the_reduction_of_one_rank_is_its_own_array_in_new_memory(dtype, op):
    array = np.arange(6, dtype=dtype).reshape(2, 3)
    reduced = SingleRank().all_reduce(array, op)
    assert reduced.dtype == array.dtype
    np.testing.assert_array_equal(reduced, array)
    assert not np.shares_memory(reduced, array)


def test_an_array_without_dimensions_keeps_its_shape():
    group = SingleRank()
    given = np.array(5, dtype=np.uint64)
    assert [each.shape for each in (group.all_reduce(given), group.broadcast(given), *group.all_gather(given))] == [
        ()
    ] * 3


def test_a_numpy_number_is_an_array_without_dimensions():
    total = SingleRank().all_reduce(np.arange(4, dtype=np.uint64).sum())
    assert (total.shape, total.dtype, int(total)) == ((), np.uint64, 6)


def test_any_memory_layout_is_taken():
    array = np.arange(12).reshape(3, 4).T[::2]
    np.testing.assert_array_equal(SingleRank().all_reduce(array), array)
    np.testing.assert_array_equal(SingleRank().all_gather(array)[0], array)


@pytest.mark.parametrize("dtype", ["U5", "S3", "M8[us]", ">i4", "?", "c16", [("key", "u8"), ("id", "u8")]])
def test_elements_of_any_fixed_size_are_gathered_and_broadcast(dtype):
    array = np.zeros(3, dtype=dtype)
    for made in (SingleRank().all_gather(array)[0], SingleRank().broadcast(array)):
        assert made.dtype == array.dtype
        assert made.tobytes() == array.tobytes()


@pytest.mark.parametrize(
    ("array", "op", "message"),
    [
        ([1, 2], "sum", "takes numpy arrays, not list"),
        (np.array(["a", None]), "sum", "holds Python objects"),
        (np.array([True]), "sum", "no sum of '|b1' arrays"),
        (np.zeros(2, dtype=">i4"), "sum", "no sum of '>i4' arrays"),
        (np.zeros(2, dtype=complex), "min", "no min of '<c16' arrays"),
        (np.zeros(2, dtype=np.longdouble), "max", "no max of"),
        (np.zeros(2, dtype="M8[us]"), "max", "no max of"),
    ],
)
def test_what_cannot_be_reduced_is_refused_on_one_rank_too(array, op, message):
    with pytest.raises(TypeError) as caught:
        SingleRank().all_reduce(array, op)
    assert message in str(caught.value)


def test_an_unknown_reduction_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="op='mean' is not known; choose one of max, min, sum"):
        SingleRank().all_reduce(np.zeros(1), "mean")


def test_a_broadcast_from_a_rank_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="root=1 is no rank of this group; they are 0 to 0"):
        SingleRank().broadcast(np.zeros(1), root=1)


@pytest.mark.parametrize(
    ("call", "other", "shown"),
    [
        (
            lambda group: group.all_reduce(np.zeros(3, np.float32)),
            Call("all_reduce sum", "<f4", (4,)),
            r"rank 0: all_reduce sum of float32 \(3,\); rank 1: all_reduce sum of float32 \(4,\)",
        ),
        (
            lambda group: group.all_reduce(np.zeros(3, np.float32)),
            Call("all_reduce sum", "<f8", (3,)),
            r"rank 1: all_reduce sum of float64 \(3,\)",
        ),
        (
            lambda group: group.all_reduce(np.zeros(3), "min"),
            Call("all_reduce max", "<f8", (3,)),
            r"rank 0: all_reduce min .*rank 1: all_reduce max",
        ),
        (
            lambda group: group.broadcast(np.zeros(3), root=0),
            Call("broadcast from 1", "<f8", (3,)),
            "rank 0: broadcast from 0 .*rank 1: broadcast from 1",
        ),
        (
            lambda group: group.all_gather(np.zeros((3, 2))),
            Call("all_gather", "<f8", (3, 4)),
            r"float64 \(3, 2\).*float64 \(3, 4\)",
        ),
        (lambda group: group.barrier(), Call("end of its work"), "rank 0: barrier; rank 1: end of its work"),
        (lambda group: group.end(), Call("barrier"), "rank 0: end of its work; rank 1: barrier"),
    ],
)
def test_ranks_that_do_not_agree_are_told_what_each_of_them_called(call, other, shown):
    with pytest.raises(StageError, match=shown):
        call(Overheard(other))


def test_a_gather_of_different_lengths_is_no_mismatch():
    Overheard(Call("all_gather", "<f8", (0, 2))).all_gather(np.zeros((3, 2)))


def test_a_stage_asks_for_a_group_and_its_ranks():
    stage = Keep().with_(communicator="nccl", num_ranks=8)
    assert stage.ray_stage_spec() == {"is_raft_actor": True}
    assert stage.num_workers() == 8
    assert Keep().num_workers() is None


def test_what_joins_the_ranks_is_no_part_of_what_decides_the_result():
    assert Keep(3).with_(communicator="nccl", num_ranks=8).settings() == Keep(3).settings() == {"factor": 3}


def test_a_communicator_is_only_there_while_the_stage_is_run():
    stage = Keep()
    with pytest.raises(StageError, match="stage 'keep' has no communicator here"):
        _ = stage.group
    group = SingleRank()
    stage.join(group)
    assert stage.group is group
    assert stage.settings() == {"factor": 1}
    stage.join(None)
    with pytest.raises(StageError):
        _ = stage.group


def test_a_single_task_is_refused():
    with pytest.raises(StageError, match="takes all tasks of its rank"):
        Keep().process(EmptyTask(task_id="0"))

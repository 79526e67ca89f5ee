import pickle

import pytest

from curator import ConfigError
from curator.placement import ReplicaRequest


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": ""}, r"replicas: '' is no name"),
        ({"name": "a/b"}, r"replicas: 'a/b' is no name"),
        ({"tp_size": 0}, r"replicas\.judge\.tp_size=0: must be a whole number, at least 1\. .*'device: cpu'"),
        ({"tp_size": -1}, r"replicas\.judge\.tp_size=-1: must be a whole number"),
        ({"tp_size": 2.0}, r"replicas\.judge\.tp_size=2\.0"),
        ({"tp_size": True}, r"replicas\.judge\.tp_size=True"),
        ({"pp_size": 0}, r"replicas\.judge\.pp_size=0"),
        ({"count": 0}, r"replicas\.judge\.count=0"),
        ({"tp_size": 4, "gpus": 2}, r"replicas\.judge\.gpus=2: a replica has tp_size \* pp_size = 4 GPUs"),
        ({"gpus": -1}, r"replicas\.judge\.gpus=-1"),
        ({"gpus": False}, r"replicas\.judge\.gpus=False"),
        ({"tp_size": 2, "gpus": 0}, r"replicas\.judge\.gpus=0: .*leave both out"),
        ({"gpus": 0, "num_cpus": 0}, r"replicas\.judge\.num_cpus=0: .*more than 0"),
        ({"num_cpus": -1}, r"replicas\.judge: resources\.cpus=-1"),
        ({"memory_gb": float("nan")}, r"replicas\.judge: resources\.memory_gb=nan"),
        ({"resources": {"GPU": 1}}, r"replicas\.judge: resources\.custom\.GPU"),
        ({"resources": ["slots"]}, r"replicas\.judge: "),
        ({"labels": {"zone": "a b"}}, r"replicas\.judge: resources\.labels\.zone"),
        ({"num_cpus": "many"}, r"replicas\.judge: resources\.cpus='many'"),
    ],
)
def test_a_wrong_request_is_refused_with_the_key_and_the_value(fields, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        ReplicaRequest(**{"name": "judge"} | fields)


def test_all_mistakes_of_a_request_are_said_at_once():
    with pytest.raises(ConfigError) as error:
        ReplicaRequest(name="judge", count=0, tp_size=0, pp_size=-1)
    assert len(error.value.problems) == 3


def test_a_replica_spans_the_product_of_its_sizes_or_no_gpu():
    assert ReplicaRequest(name="judge", tp_size=4, pp_size=2).total_gpus == 8
    assert ReplicaRequest(name="judge", tp_size=4, pp_size=2, gpus=8).total_gpus == 8
    assert ReplicaRequest(name="tiny", gpus=0).total_gpus == 0


def test_each_part_has_an_equal_share_and_a_core_of_its_own_if_nothing_is_said():
    request = ReplicaRequest(name="judge", tp_size=6, num_cpus=4, memory_gb=10, resources={"slots": 1})
    third = request.bundle_resources(3)
    assert (third.cpus, third.gpus, third.memory_gb) == (1.3334, 2, 3.3334)
    assert third.custom == {"slots": 0.3334}
    assert ReplicaRequest(name="judge", tp_size=6).bundle_resources(3).cpus == 1
    assert ReplicaRequest(name="judge", tp_size=2, num_cpus=0.0001).bundle_resources(2).cpus == 0.0001


def test_a_request_can_be_hashed_compared_and_sent_to_another_process():
    request = ReplicaRequest(name="judge", resources={"slots": 1}, labels={"zone": "in(a, b)"})
    assert pickle.loads(pickle.dumps(request)) == request
    assert len({request, ReplicaRequest(name="judge", resources={"slots": 1}, labels={"zone": "in(a,b)"})}) == 1

"""What ``mode=plan`` says of replicas: their bundles and nodes, what is asked of a cluster, or why they do not fit."""

import json

import pytest

from curator.config import planning
from curator.config.build import build_run
from curator.config.compose import compose_config, read_composed
from curator.errors import ConfigError
from curator.pipeline import outlook
from curator.pipeline.outlook import Machine


@pytest.fixture
def describe(tmp_path):
    def plan(*words):
        overrides = ["executor=ray_actor_pool", "stages=copy", f"output_path={tmp_path}/out", *words]
        return planning.describe_plan(build_run(read_composed(compose_config(overrides))))

    return plan


@pytest.fixture
def pretended(monkeypatch):
    def pretend(*, cpus=16, gpus=0):
        machine = Machine(cpus=cpus, gpus=gpus, memory_bytes=64 * 10**9)
        for module in (planning, outlook):
            monkeypatch.setattr(module, "this_machine", lambda output: machine)

    return pretend


def test_replicas_are_planned_on_a_machine_with_pretended_gpus(describe, pretended):
    pretended(gpus=8)
    text = describe("replicas=[judge_tp4,tiny_cpu]", "replicas.judge_tp4.replicas=2")
    lines = [line.split() for line in text.splitlines()]
    assert next(line for line in lines if "judge_tp4-1" in line)[2:-2] == ["4", "CPU,", "4", "GPU,", "STRICT_PACK"]
    assert [line[0] for line in lines if line and line[0].startswith(("judge_tp4-", "tiny_cpu-"))] == [
        "judge_tp4-0",
        "judge_tp4-1",
        "tiny_cpu-0",
        "tiny_cpu-1",
    ]


def test_the_plan_as_json_has_bundles_and_nodes(describe, pretended):
    pretended()
    (tiny,) = json.loads(describe("replicas=tiny_cpu", "plan_format=json"))["placement_groups"]
    assert tiny["placements"] == [
        {"name": f"tiny_cpu-{n}", "strategy": "STRICT_PACK", "bundles": [{"CPU": 0.5}], "nodes": ["this machine"]}
        for n in range(2)
    ]


def test_a_cluster_is_not_asked_and_the_plan_says_what_will_be_asked_for(describe):
    words = ("replicas=judge_tp4", "executor.address=10.0.0.1:6379")
    assert "1 x (4 CPU, 4 GPU)  the cluster is not asked before the run" in describe(*words)
    (judge,) = json.loads(describe(*words, "plan_format=json"))["placement_groups"]
    assert (judge["gpus"], judge["placements"]) == (4, None)


def test_replicas_that_leave_fewer_workers_are_a_doubt_that_names_the_numbers_to_change(describe, pretended):
    words = ("replicas=tiny_cpu", "executor.num_workers=4", "replicas.tiny_cpu.resources.cpus=0.75")
    pretended(cpus=6)
    assert "doubt" not in describe(*words)
    pretended(cpus=3)
    text = describe(*words)
    assert (
        "doubt     replicas: 1.5 of 3 CPUs are theirs for the whole run, so that step 1 has 1 worker and not 3. For "
        "more, lower replicas.tiny_cpu.replicas (now 2) or replicas.tiny_cpu.resources.cpus (now 0.75), or what a "
        "worker of it takes."
    ) in text
    assert text.splitlines()[-1].split()[4:6] == ["4", "1"]
    assert json.loads(describe(*words, "plan_format=json"))["steps"][0]["workers"] == 1
    assert "doubt" not in describe("replicas=tiny_cpu", "executor=local")


def test_replicas_that_leave_no_worker_are_a_mistake_of_the_plan(describe, pretended):
    pretended(cpus=4)
    with pytest.raises(
        ConfigError, match=r"3\.5 of 4 CPUs are .* no worker of step 1 fits .* Lower .*replicas \(now 7\)"
    ):
        describe("replicas=tiny_cpu", "replicas.tiny_cpu.replicas=7")


@pytest.mark.parametrize(
    ("gpus", "words", "message"),
    [
        (0, [], r"^replicas\.judge_tp4: No GPU nodes found: none of 1 nodes offers a GPU"),
        (2, [], r"^replicas\.judge_tp4: Cannot place TP=4: need an even split .* with 2 GPUs\. .* fit: 1, 2\.$"),
        (8, ["replicas.judge_tp4.replicas=3"], r"^replicas\.judge_tp4: 2 of 3 replicas fit beside the others; 0 GPUs"),
        (8, ["executor.ignore_head_node=true"], r"^replicas\.judge_tp4: the head node is left alone"),
        (8, ["replicas.judge_tp4.tp_size=0"], r"^replicas\.judge_tp4\.tp_size: 0 must be at least 1\.$"),
        (8, ["replicas.judge_tp4.tp_size=-2"], r"^replicas\.judge_tp4\.tp_size: -2 must be at least 1\.$"),
        (8, ["replicas.judge_tp4.resources.cpus=99"], r"^replicas\.judge_tp4: no node can hold .*: 83 CPU missing"),
    ],
)
def test_replicas_that_could_not_be_placed_are_a_mistake_of_the_plan(describe, pretended, gpus, words, message):
    pretended(gpus=gpus)
    with pytest.raises(ConfigError, match=message):
        describe("replicas=judge_tp4", *words)

"""A run with replicas beside it, as the command makes it: the stage that asks them, a node that dies, what is left."""

import json
import sys
import threading
import time
import urllib.request

import pytest
from ray.util.placement_group import placement_group_table

from curator import verify_output
from curator.config.build import build_run
from curator.config.compose import compose_config, read_composed_job
from curator.errors import ConfigError, ExecutorError
from curator.serve.beside import living_owners
from curator.serve.endpoints import ReplicaEndpoints
from curator.serve.processes import PREFIX

pytestmark = pytest.mark.ray


def built(*typed):
    job = read_composed_job(compose_config(["stages=llm_quality", "stages.llm_score.cache_path=null", *typed]))
    return build_run(job.plain, job.layers)


@pytest.fixture
def corpus(tmp_path, write_jsonl):
    documents = [{"id": str(number), "text": f"document {number}"} for number in range(60)]
    for part in range(3):
        write_jsonl(tmp_path / "corpus" / f"{part}.jsonl", documents[part::3])
    return [f"input_path={tmp_path}/corpus", f"output_path={tmp_path}/out"]


@pytest.fixture
def served(stub, tmp_path):
    """Words that choose a set which the stub serves."""

    def served(mode="well", **more):
        folder = tmp_path / "conf" / "replicas"
        folder.mkdir(parents=True, exist_ok=True)
        settings = stub(mode)
        said = {"model": "stub-model", "engine": "command", "device": "cpu", "command": settings.command}
        said |= {"resources": {"cpus": 0.1}, "stop_timeout_s": 1, "health_interval_s": 0.2, **more}
        (folder / "served.yaml").write_text("# Ours.\n" + json.dumps({"served": said}))
        return [f"hydra.searchpath=[file://{tmp_path}/conf]", "replicas=served"]

    return served


def posts(url):
    with urllib.request.urlopen(f"{url.removesuffix('/v1')}/health", timeout=10) as answer:
        return json.loads(answer.read())["posts"]


def test_a_run_whose_replica_loses_its_node_finishes_with_every_record_accounted_for(
    cluster, served, corpus, tmp_path, wait_for
):
    nodes = [cluster.add_node(num_cpus=1, object_store_memory=80_000_000, resources={"slot": 1}) for _ in range(2)]
    cluster.wait_for_nodes()
    words = served("slow", resources={"cpus": 0.1, "custom": {"slot": 1}})
    pool = ["executor=ray_actor_pool", f"executor.address={cluster.address}", "executor.num_workers=1"]
    run = built(*words, *corpus, *pool, "stages.llm_score.max_concurrency=8")
    addresses = ReplicaEndpoints("served", "stub-model", str(tmp_path / "run" / "replicas"))
    seen = []

    def kill_its_node():
        def serves():
            try:
                return [each for each in addresses.endpoints() if posts(each.url) > 4]
            except (ExecutorError, OSError):
                return []

        seen.append(wait_for(serves)[0].url)
        (group,) = [
            each
            for each in placement_group_table().values()
            if each["name"].startswith(PREFIX) and each["state"] == "CREATED"
        ]
        (its_node,) = group["bundles_to_node_id"].values()
        (node,) = [node for node in nodes if node.node_id == its_node]
        nodes.remove(node)
        cluster.remove_node(node, allow_graceful=False)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and len(seen) < 2:
            seen.extend(each.url for each in addresses.endpoints() if each.url != seen[0])
            time.sleep(0.1)

    killer = threading.Thread(target=kill_its_node)
    killer.start()
    try:
        result = run.run(tmp_path / "run")
    finally:
        killer.join()
        for node in nodes:
            cluster.remove_node(node, allow_graceful=False)
    assert len(seen) >= 2
    assert result.counts == {"read": 60, "kept": 60, "removed": 0, "quarantined": 0}
    assert verify_output(result.output_path).problems == []


def test_a_local_run_has_replicas_in_a_session_of_its_own(loopback, served, corpus, tmp_path):
    result = built(*served(), *corpus).run(tmp_path / "run")
    assert result.counts["kept"] == 60
    assert "served-0" in result.report
    key = (tmp_path / "run" / "replicas" / "served.key").read_text()
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".key"]
    assert len(written) > 5
    assert [path for path in written if key.encode() in path.read_bytes()] == []


def test_a_run_on_ray_data_has_replicas_too(cluster, served, corpus, tmp_path):
    pytest.importorskip("pandas", reason="ray_data needs pandas")
    words = ["executor=ray_data", f"executor.address={cluster.address}"]
    assert built(*served(), *corpus, *words).run(tmp_path / "run").counts["kept"] == 60


def test_replicas_that_leave_no_worker_on_any_node_end_the_run_at_once(cluster, served, corpus, tmp_path):
    words = served(resources={"cpus": 4}, replicas=3)
    run = built(*words, *corpus, "executor=ray_actor_pool", f"executor.address={cluster.address}")
    with pytest.raises(
        ExecutorError, match=r"12 of 12 CPUs are .* no worker of 1 CPU fits .* Lower replicas.served.replicas \(3\)"
    ):
        run.run(tmp_path / "run")


def test_a_server_that_never_gets_well_ends_the_run_and_publishes_nothing(cluster, served, corpus, tmp_path):
    from curator.cluster import ray_session

    run = built(
        *served("dies", max_restarts=0), *corpus, "executor=ray_actor_pool", f"executor.address={cluster.address}"
    )
    with pytest.raises(
        ExecutorError, match=r"(?s)^replicas.served: served-0: its server ended.*the model is not there"
    ):
        run.run(tmp_path / "run")
    assert not (tmp_path / "out").exists()
    with ray_session(cluster.address):
        assert living_owners() == set()


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ([], r"stages.llm_score: there is nobody to ask. Choose a set of replicas, as in 'replicas=tiny_cpu'"),
        (["stages.llm_score.replicas=judge"], r"there is no set 'judge' in this run. Choose it: 'replicas=judge'"),
        (
            ["replicas=tiny_cpu", "stages.llm_score.replicas=tiny"],
            r"no set 'tiny' in this run. Did you mean 'tiny_cpu'",
        ),
        (["replicas=[judge_tp4,tiny_cpu]"], r"which of judge_tp4, tiny_cpu is to be asked"),
    ],
)
def test_a_stage_that_has_nobody_to_ask_is_refused(typed, message):
    with pytest.raises(ConfigError, match=message):
        built(*typed)


def test_a_set_that_is_wrong_is_the_only_mistake_and_not_that_nobody_is_there_to_ask():
    with pytest.raises(ConfigError) as raised:
        built("replicas=tiny_cpu", "replicas.tiny_cpu.tp_size=0")
    assert raised.value.problems == ["replicas.tiny_cpu.tp_size: 0 must be at least 1."]


def test_a_set_that_no_stage_asks_is_worth_a_warning_and_an_endpoint_needs_none():
    job = read_composed_job(compose_config(["replicas=tiny_cpu", "stages=copy"]))
    assert build_run(job.plain, job.layers).asked == {}
    run = built("stages.llm_score.endpoint=http://127.0.0.1:9/v1", "stages.llm_score.model=m")
    assert run.asked == {}


def test_a_stage_knows_the_model_of_its_set_so_that_another_model_is_another_plan():
    stages = [
        built("replicas=tiny_cpu", *words).pipeline.stages[1].settings()
        for words in ([], ["replicas.tiny_cpu.revision=abc"])
    ]
    assert stages[0]["model"] == "curator-tiny-random"
    assert stages[1]["model"] == "curator-tiny-random@abc"


@pytest.mark.slow
def test_the_documented_command_works_with_the_tiny_model(corpus, tmp_path, loopback):
    pytest.importorskip("torch", reason="the tiny model needs torch: pip install curator[replicas]")
    pytest.importorskip("transformers", reason="the tiny model needs transformers: pip install curator[replicas]")
    import subprocess

    words = ["executor=ray_actor_pool", "stages=llm_quality", "replicas=tiny_cpu", "stages.llm_score.cache_path=null"]
    done = subprocess.run(
        [sys.executable, "-m", "curator", *words, *corpus, f"hydra.run.dir={tmp_path}/run"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    counts = json.loads((tmp_path / "out" / "_curator" / "run.json").read_text())["counts"]
    assert counts["read"] == 60 == counts["kept"] + counts["removed"]
    assert min(counts["kept"], counts["removed"]) > 0
    used = {line.split()[1]: line.split() for line in done.stdout.splitlines() if "tiny_cpu-" in line}
    assert set(used) == {"tiny_cpu-0", "tiny_cpu-1"}
    for row in used.values():
        assert int(row[2]) > 20
        assert (row[3], row[5]) == ("0", row[2])  # no errors, and one token an answer

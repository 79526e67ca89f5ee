"""The groups that are no stages: each option of theirs builds, chosen alone or with others."""

import pytest

from curator.config.build import build_run
from curator.config.compose import compose_config, read_composed_job
from curator.config.conf_dir import conf_dir

ENVIRONMENTS = sorted(path.stem for path in (conf_dir() / "runtime_env").glob("*.yaml"))


def built(*typed):
    job = read_composed_job(compose_config(list(typed)))
    return build_run(job.plain, job.layers)


def test_the_environments_are_these():
    assert ENVIRONMENTS == ["inherit", "offline", "quiet", "vllm"]


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_environment_is_one_that_ray_takes(name):
    from ray.runtime_env import RuntimeEnv

    run = built("executor=ray_actor_pool", f"runtime_env={name}")
    env = run.executor.config["runtime_env"] or {}
    assert RuntimeEnv(**env).env_vars() == env.get("env_vars", {})
    assert run.settings.warnings == ()


def test_all_environments_go_together():
    run = built("executor=ray_actor_pool", f"runtime_env=[{','.join(ENVIRONMENTS)}]")
    names = run.executor.config["runtime_env"]["env_vars"]
    assert {"HF_HUB_OFFLINE", "TQDM_DISABLE", "VLLM_WORKER_MULTIPROC_METHOD", "DO_NOT_TRACK"} <= set(names)
    assert run.settings.warnings == ()


def test_vllm_is_started_by_spawning():
    env = built("executor=ray_actor_pool", "runtime_env=vllm").executor.config["runtime_env"]
    assert env["env_vars"]["VLLM_WORKER_MULTIPROC_METHOD"] == "spawn"


@pytest.mark.parametrize("group", ["runtime_env", "experiment"])
def test_a_group_that_nothing_needs_can_be_left_out(group):
    job = read_composed_job(compose_config([f"{group}=null"]))
    assert job.plain["stages"]


def test_a_root_key_of_the_config_is_one_of_the_schema():
    from curator.config.schema import ROOT_KEYS

    assert set(compose_config([])) - {"hydra"} <= set(ROOT_KEYS)

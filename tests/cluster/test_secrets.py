"""Secrets reach workers of a cluster that was there before, and no file of that cluster."""

import os
from pathlib import Path

import pytest

from curator import ProcessingStage, RayActorPoolExecutor, RayDataExecutor
from curator.cluster.secrets import JOB, STAGE, hide_secrets, remove_secrets
from curator.stages.runtime_env import SecretText
from curator.tasks import EmptyTask
from tests.raylets import raylets

NAMES = ("A_TOKEN", "B_TOKEN", "C_TOKEN", "PLAIN")
# None is a word that could come from anywhere else.
OF_JOB, OF_STAGE, REPLACED = (f"canary{number}zq8{'x' * 8}" for number in range(3))


class Look(ProcessingStage):
    """Notes what it sees of the environment, in each of its hooks."""

    name = "look"

    def __init__(self, folder):
        self.folder = folder

    def _note(self, hook):
        seen = "\n".join(f"{name}={os.environ.get(name)}" for name in NAMES)
        (Path(self.folder) / hook).write_text(seen)

    def setup_on_node(self, node_info, worker_metadata):
        self._note("setup_on_node")

    def setup(self, worker_metadata):
        self._note("setup")

    def process(self, task):
        self._note("process")
        return task


@pytest.fixture(scope="module")
def cluster():
    with raylets(2) as cluster:
        yield cluster


@pytest.mark.ray
@pytest.mark.parametrize("kind", [RayActorPoolExecutor, RayDataExecutor])
def test_workers_get_secrets_and_the_files_of_the_cluster_do_not(cluster, kind, tmp_path):
    env = {"env_vars": {"A_TOKEN": SecretText(OF_JOB), "C_TOKEN": SecretText(REPLACED), "PLAIN": "plain"}}
    own = {"env_vars": {"B_TOKEN": SecretText(OF_STAGE), "C_TOKEN": "in-the-clear"}}
    stage = Look(str(tmp_path)).with_(runtime_env=own)
    executor = kind({"address": cluster.address, "num_workers": 1, "runtime_env": env})
    assert len(executor.execute([stage], [EmptyTask()])) == 1
    expected = f"A_TOKEN={OF_JOB}\nB_TOKEN={OF_STAGE}\nC_TOKEN=in-the-clear\nPLAIN=plain"
    for hook in ("setup_on_node", "setup", "process"):
        assert (tmp_path / hook).read_text() == expected, hook
    session = Path(cluster.cluster.head_node.get_session_dir_path())
    files = [path for path in session.rglob("*") if path.is_file()]
    assert any("raylet" in path.name for path in files)
    for path in files:
        content = path.read_bytes()
        for canary in (OF_JOB, OF_STAGE, REPLACED):
            assert canary.encode() not in content, path


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    remove_secrets()


def test_an_environment_without_secrets_is_left_as_it_is():
    env = {"env_vars": {"A": "1"}, "pip": ["numpy"]}
    assert hide_secrets(env, JOB) == env
    assert hide_secrets({}, STAGE) == {}


def test_an_environment_with_secrets_shows_their_names_no_more():
    env = {"env_vars": {"A_TOKEN": SecretText("one"), "B": "2"}}
    shown = hide_secrets(env, JOB)
    assert sorted(shown["env_vars"]) == ["B", JOB]
    assert "one" not in str(shown)
    assert env["env_vars"]["A_TOKEN"] == "one"


def test_workers_of_one_stage_share_an_entry():
    env = {"env_vars": {"A_TOKEN": SecretText("one")}}
    assert hide_secrets(env, STAGE) == hide_secrets(env, STAGE)
    assert hide_secrets(env, STAGE) != hide_secrets({"env_vars": {"A_TOKEN": SecretText("two")}}, STAGE)


def test_a_stage_that_speaks_in_the_clear_is_noted_where_the_job_has_secrets():
    hide_secrets({"env_vars": {"A_TOKEN": SecretText("one")}}, JOB)
    assert STAGE in hide_secrets({"env_vars": {"A_TOKEN": "plain"}}, STAGE)["env_vars"]

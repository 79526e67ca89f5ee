import os
import signal
import subprocess
import sys

import pytest

from curator import ConfigError
from curator.cluster import (
    alive_nodes,
    check_runtime_env,
    get_available_cpu_gpu_resources,
    get_head_node_id,
    get_worker_metadata_and_node_id,
    ray_session,
)
from curator.cluster.runtime_env import setup_failure
from curator.errors import ExecutorError


@pytest.mark.parametrize(
    ("env", "checked"),
    [
        (None, {}),
        ({}, {}),
        ({"env_vars": None, "pip": None}, {}),
        ({"env_vars": {"A": None}}, {}),
        ({"env_vars": {"A": "1", "B": None}, "working_dir": None}, {"env_vars": {"A": "1"}}),
        ({"pip": ["numpy"]}, {"pip": ["numpy"]}),
    ],
)
def test_null_in_an_environment_is_the_same_as_nothing_there(env, checked):
    assert check_runtime_env(env) == checked


def test_an_environment_is_checked_without_being_changed_or_aliased():
    env = {"env_vars": {"A": "1"}, "pip": ["numpy"]}
    checked = check_runtime_env(env)
    checked["env_vars"]["A"] = "2"
    checked["pip"].append("scipy")
    assert env == {"env_vars": {"A": "1"}, "pip": ["numpy"]}


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ("pip", r"executor\.runtime_env='pip': must be a mapping"),
        ({"env_var": {}}, r"executor\.runtime_env\.env_var: there is no such key\. Did you mean 'env_vars'\?"),
        ({"env_vars": ["A"]}, r"executor\.runtime_env\.env_vars: is of type list"),
        ({"env_vars": {"A": True}}, r"executor\.runtime_env\.env_vars\.A: is of type bool, must be text"),
        ({"env_vars": {"A=B": "1"}}, r"env_vars\.A=B: is no name"),
        ({"pip": 5}, r"executor\.runtime_env: .*pip"),
        ({"pip": ["a"], "conda": "b"}, r"executor\.runtime_env: .*cannot be specified at the same time"),
        ({"working_dir": "/no/such/folder"}, r"executor\.runtime_env: .*/no/such/folder"),
        ({"config": {"setup_timeout_seconds": "1"}}, r"executor\.runtime_env: setup_timeout_seconds must be"),
    ],
)
def test_a_wrong_environment_is_refused_without_a_cluster(env, message):
    with pytest.raises(ConfigError, match=rf"(?s){message}"):
        check_runtime_env(env)


def test_a_value_of_a_variable_is_in_no_message():
    with pytest.raises(ConfigError) as raised:
        check_runtime_env({"env_vars": {"PIN": 123456789, "B": 2}})
    assert len(raised.value.problems) == 2
    assert "123456789" not in str(raised.value)


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        ("Failed\nTraceback:\nRuntimeError: no conda here\n\n", "RuntimeError: no conda here"),
        (
            "Failed\nERROR: No matching distribution found for xyz\n\nRuntimeError: 1",
            "No matching distribution found for xyz",
        ),
    ],
)
def test_the_reason_is_taken_out_of_the_report_of_a_node_that_cannot_make_an_environment(report, reason):
    from ray.exceptions import RuntimeEnvSetupError

    assert setup_failure(RuntimeEnvSetupError(report)) == reason


@pytest.mark.ray
class TestSessions:
    """Sessions are started and left here, so no test here may use the one that other modules share."""

    def test_the_head_of_one_session_is_not_taken_for_that_of_the_next(self, cluster):
        heads = []
        for address in (None, cluster.address):
            with ray_session(address, num_cpus=1) as session:
                heads.append(get_head_node_id())
                assert heads[-1] in {node["NodeID"] for node in session.nodes}
        assert heads[0] != heads[1]

    def test_signal_handlers_of_the_caller_are_left_as_they_were(self, cluster):
        def own(number, frame):
            raise AssertionError

        before = {number: signal.signal(number, own) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            with ray_session(cluster.address):
                assert [signal.getsignal(number) for number in before] == [own, own]
            assert [signal.getsignal(number) for number in before] == [own, own]
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def test_an_environment_that_ray_would_drop_is_an_error_and_one_of_nulls_is_not(self, cluster):
        import ray

        with ray_session(cluster.address):
            with (
                pytest.raises(ConfigError, match="Ray would drop this environment"),
                ray_session(runtime_env={"env_vars": {"A": "1"}}),
            ):
                pass
            with ray_session(runtime_env={"env_vars": None}) as session:
                assert session.started_here is False
            assert ray.is_initialized()

    def test_an_environment_reaches_the_workers(self, cluster):
        import ray

        with ray_session(cluster.address, runtime_env={"env_vars": {"SEEN": "yes", "GONE": None}, "pip": None}):
            assert ray.get(ray.remote(lambda: os.environ.get("SEEN")).remote()) == "yes"

    def test_an_environment_that_no_node_can_make_is_an_error_with_the_reason(self, cluster):
        import ray

        with (
            pytest.raises(ExecutorError, match=r"executor\.runtime_env: a node cannot make this environment: .*conda"),
            ray_session(cluster.address, runtime_env={"conda": "no-such-environment"}),
        ):
            pass
        assert not ray.is_initialized()

    def test_resources_can_be_asked_for_where_no_session_is_up(self, cluster, monkeypatch):
        import ray

        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        assert get_available_cpu_gpu_resources(init_and_shutdown=True) == (3, 2)
        assert not ray.is_initialized()

    def test_without_a_session_the_error_says_how_to_start_one(self):
        for ask in (alive_nodes, get_head_node_id, get_available_cpu_gpu_resources, get_worker_metadata_and_node_id):
            with pytest.raises(ExecutorError, match=r"no Ray session is up. Start one with"):
                ask()

    def test_a_private_session_listens_on_loopback_only_and_joins_only_who_has_its_token(self, monkeypatch, tmp_path):
        import ray
        from ray._private import ray_constants

        # As it is where no variable was set before Ray was imported.
        monkeypatch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", True)
        for name in ("RAY_AUTH_MODE", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"):
            monkeypatch.delenv(name, raising=False)
        wrong = tmp_path / "wrong"
        wrong.write_text("a" * 64)
        with ray_session(num_cpus=1):
            address = ray.get_runtime_context().gcs_address
            assert address.startswith("127.0.0.1:")
            inherited = {key: value for key, value in os.environ.items() if key != "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"}
            joining = [
                subprocess.Popen(
                    [sys.executable, "-c", JOIN, address],
                    env={**inherited, "RAY_AUTH_MODE": "token", "RAY_NUM_REDIS_GET_RETRIES": "2", **token},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                )
                for token in ({}, {"RAY_AUTH_TOKEN_PATH": str(wrong)}, {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "none")})
            ]
            right, refused, missing = [process.communicate(timeout=90)[0] for process in joining]
        assert right == "joined\n"
        for message in (refused, missing):
            assert f"executor.address={address!r}" in message
            assert "refuses the token of this process (RAY_AUTH_MODE is 'token')" in message
            assert "RAY_AUTH_TOKEN_PATH" in message


JOIN = """
import sys
from curator.cluster import ray_session
from curator.errors import ExecutorError
try:
    with ray_session(sys.argv[1]):
        print("joined")
except ExecutorError as error:
    print(error)
"""

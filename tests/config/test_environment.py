"""The environment of workers: what is refused, and how secrets are fetched without being shown."""

import os

import pytest

from curator.config.build import build_run
from curator.config.compose import compose_config, read_composed
from curator.config.environment import (
    KEYS,
    check_environment,
    reveal,
    secrets_of,
    set_in_process,
    without_secrets,
)
from curator.logs import redact


@pytest.mark.parametrize("env", [None, {}, {"env_vars": None}, {"env_vars": {"A": "1", "B": None}, "pip": ["x"]}])
def test_an_environment_may_be_empty_in_every_way(env):
    assert check_environment(env, "runtime_env") == []


@pytest.mark.parametrize(
    ("env", "problem"),
    [
        ("quiet", "runtime_env: 'quiet' is no mapping. Try 'runtime_env=inherit'"),
        ({"env_var": {}}, "runtime_env.env_var: there is no such key. Did you mean 'runtime_env.env_vars'?"),
        ({"env_vars": ["A"]}, "runtime_env.env_vars: is of type list, and must be a mapping of names to texts."),
        ({"env_vars": {"A": 1}}, "runtime_env.env_vars.A: is of type int, and must be text. Put it in quotes:"),
        ({"env_vars": {"A": False}}, "runtime_env.env_vars.A: is true or false, and must be text."),
        ({"env_vars": {"A=B": "x"}}, "runtime_env.env_vars.A=B: 'A=B' is no name of an environment variable."),
        ({"env_vars": {"A": "file:/no/such/file"}}, "runtime_env.env_vars.A: there is no file '/no/such/file'"),
        (
            {"worker_process_setup_hook": "os.system"},
            "runtime_env.worker_process_setup_hook: 'os.system' lies outside the trusted packages",
        ),
    ],
)
def test_a_wrong_environment_is_one_sentence(env, problem):
    (found,) = check_environment(env, "runtime_env")
    assert found.startswith(problem)


def test_no_problem_shows_a_value():
    env = {"env_vars": {"A": ["hidden"], "B": {"x": "hidden"}, "C=": "hidden"}}
    assert "hidden" not in "".join(check_environment(env, "runtime_env"))


def test_a_variable_can_come_from_a_file(tmp_path):
    file = tmp_path / "token"
    file.write_text("s3cret-of-a-file\n")
    env = {"env_vars": {"A": f"file:{file}"}}
    assert check_environment(env, "runtime_env") == []
    revealed = reveal(env)
    assert revealed["env_vars"]["A"] == "s3cret-of-a-file"
    assert "s3cret" not in repr(revealed)
    assert redact("said: s3cret-of-a-file.") == "said: ***."
    assert env == {"env_vars": {"A": f"file:{file}"}}


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"x" * 70_000])
def test_a_file_without_a_usable_text_is_refused(tmp_path, content):
    file = tmp_path / "token"
    file.write_bytes(content)
    (problem,) = check_environment({"env_vars": {"A": f"file:{file}"}}, "runtime_env")
    assert str(file) in problem


def test_the_known_keys_are_those_of_ray():
    from ray.runtime_env import RuntimeEnv

    public = {key.removeprefix("_") for key in RuntimeEnv.known_fields - RuntimeEnv.extensions_fields}
    assert set(KEYS) == public


def test_secrets_are_told_from_other_variables_and_taken_out():
    env = reveal({"env_vars": {"A_TOKEN": "a", "B": "b", "PROXY": "http://me:pw@host"}, "pip": ["x"]})
    assert secrets_of(env) == {"A_TOKEN": "a", "PROXY": "http://me:pw@host"}
    assert without_secrets(env) == {"env_vars": {"B": "b"}, "pip": ["x"]}
    assert secrets_of(None) == secrets_of({"env_vars": None}) == {}


def test_variables_of_this_process_are_put_back(monkeypatch):
    monkeypatch.setenv("B_TOKEN", "before")
    with set_in_process({"A_TOKEN": "a", "B_TOKEN": "b"}):
        assert (os.environ["A_TOKEN"], os.environ["B_TOKEN"]) == ("a", "b")
    assert (os.environ.get("A_TOKEN"), os.environ["B_TOKEN"]) == (None, "before")


def built(*typed):
    return build_run(read_composed(compose_config(["executor=ray_actor_pool", *typed])))


def test_a_session_of_our_own_gets_secrets_from_this_process_and_not_through_ray():
    run = built("+runtime_env.env_vars={A_TOKEN:a-value,C:c}")
    assert run.executor.config["runtime_env"] == {"env_vars": {"C": "c"}}
    assert run.secrets == {"A_TOKEN": "a-value"}


def test_a_cluster_that_was_there_before_gets_them_from_its_store_and_nobody_is_warned():
    run = built("+runtime_env.env_vars={A_TOKEN:a-value}", "executor.address=auto")
    assert run.executor.config["runtime_env"]["env_vars"] == {"A_TOKEN": "a-value"}
    assert run.secrets == {}
    assert "a-value" not in repr(run)
    assert run.settings.warnings == ()


@pytest.mark.parametrize("name", ["PYTHONPATH", "LD_PRELOAD", "PYTHONSTARTUP", "PATH", "RAY_RUNTIME_ENV_HOOK"])
@pytest.mark.parametrize("place", ["runtime_env", "stages.exact.runtime_env"])
def test_a_variable_that_decides_what_code_workers_run_is_worth_a_word(place, name):
    run = built(f"+{place}.env_vars={{{name}:/theirs,HF_HOME:/models}}")
    (warning,) = run.settings.warnings
    assert warning.startswith(f"{place}.env_vars: {name}: decides which code the workers run.")
    assert "/theirs" not in warning

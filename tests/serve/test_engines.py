"""The command lines of model servers, as their engines document them; the key is in none of them."""

import importlib.util
import inspect
import json
import warnings

import pytest
import yaml

from curator.config.conf_dir import conf_dir
from curator.serve.engines import KEY_VARIABLE, Rank, server_command
from curator.serve.settings import TINY_MODEL, ReplicaSettings
from curator.serve.tiny_model import ANSWERS

VLLM_OPTIONS = {
    # What the parser of vLLM 0.33.0 takes, and https://docs.vllm.ai says: "vllm serve", "Parallelism and Scaling"
    *("--revision", "--host", "--port", "--tensor-parallel-size", "--pipeline-parallel-size"),
    *("--nnodes", "--node-rank", "--master-addr", "--master-port", "--headless"),
}
VLLM_OPTIONS_OF_LAYOUTS = {"--max-model-len", "--gpu-memory-utilization"}
VLLM_VARIABLES = {"VLLM_API_KEY", "VLLM_WORKER_MULTIPROC_METHOD", "VLLM_HOST_IP", "VLLM_NO_USAGE_STATS"}


def command_of(settings, rank=None):
    return server_command(settings, rank or Rank("127.0.0.1", 8000), key="the-key", key_file="/run/the.key")


def read_layout(name):
    """Arguments and environment of an option of the group, which is its set's too."""
    said = yaml.safe_load((conf_dir() / "replicas" / f"{name}.yaml").read_text())[name]
    return {key: said[key] for key in ("arguments", "runtime_env")}


def of_vllm(**more):
    return ReplicaSettings(**{"name": "judge", "model": "org/model", "engine": "vllm", **more})


def test_vllm_on_one_node():
    command = command_of(of_vllm(tp_size=4, revision="abc", arguments={"max_model_len": 8192, "enforce_eager": True}))
    words = "vllm serve org/model --revision abc --host 127.0.0.1 --port 8000 --tensor-parallel-size 4"
    assert " ".join(command.words) == f"{words} --max-model-len 8192 --enforce-eager"
    assert command.variables == {
        "CURATOR_REPLICA_KEY": "the-key",
        "VLLM_API_KEY": "the-key",
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    }


def test_vllm_on_two_nodes_has_a_server_and_a_follower_that_finds_it():
    settings = of_vllm(tp_size=8, pp_size=2)
    both = [
        command_of(settings, Rank(host, port, rank, 2, "10.0.0.1", 29000))
        for rank, (host, port) in enumerate([("10.0.0.1", 8000), ("10.0.0.2", 8001)])
    ]
    sizes = "--tensor-parallel-size 8 --pipeline-parallel-size 2"
    where = "--master-addr 10.0.0.1 --master-port 29000"
    assert " ".join(both[0].words) == (
        f"vllm serve org/model --host 10.0.0.1 --port 8000 {sizes} --nnodes 2 --node-rank 0 {where}"
    )
    assert " ".join(both[1].words) == f"vllm serve org/model {sizes} --nnodes 2 --node-rank 1 {where} --headless"
    assert [each.variables["VLLM_HOST_IP"] for each in both] == ["10.0.0.1", "10.0.0.2"]
    assert "VLLM_API_KEY" not in both[1].variables


def test_every_option_and_variable_of_vllm_is_one_that_it_is_known_to_have():
    judge = read_layout("judge_tp4")
    both = [
        command_of(of_vllm(tp_size=2, pp_size=2, revision="r", **judge), Rank("h", 1, rank, 2, "m", 2))
        for rank in (0, 1)
    ]
    words = [word for command in both for word in command.words]
    assert {word for word in words if word.startswith("--")} == VLLM_OPTIONS | VLLM_OPTIONS_OF_LAYOUTS
    variables = {name for command in both for name in command.variables}
    assert variables - {KEY_VARIABLE, "DO_NOT_TRACK"} == VLLM_VARIABLES


@pytest.fixture
def vllm_parser(monkeypatch):
    """The parser of ``vllm serve``, which wants to know a device; it is there on a machine without one as well."""
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed: what the parser of 0.33.0 takes is in VLLM_OPTIONS")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it imports is deprecated here and there
        from vllm import platforms
        from vllm.entrypoints.common.cli_args import make_arg_parser
        from vllm.platforms.cpu import CpuPlatform
        from vllm.utils.argparse_utils import FlexibleArgumentParser

        monkeypatch.setattr(platforms, "_current_platform", CpuPlatform())
        return make_arg_parser(FlexibleArgumentParser())


def test_vllm_s_own_parser_takes_its_command_lines_and_reads_them_as_they_are_meant(vllm_parser):
    """Compared with vLLM 0.33.0; nothing is started."""
    arguments = {"max_model_len": 8192, "enforce_eager": True, "enable_prefix_caching": False, "hf_overrides": {"a": 1}}
    words = command_of(of_vllm(tp_size=4, revision="abc", arguments=arguments)).words
    said = vllm_parser.parse_args(list(words[2:]))
    assert (said.model_tag, said.revision, said.host, said.port) == ("org/model", "abc", "127.0.0.1", 8000)
    assert (said.tensor_parallel_size, said.nnodes, said.headless) == (4, 1, False)
    assert (said.max_model_len, said.enforce_eager, said.enable_prefix_caching) == (8192, True, False)
    assert said.hf_overrides == {"a": 1}
    words = command_of(of_vllm(**read_layout("judge_tp4"))).words
    said = vllm_parser.parse_args(list(words[2:]))
    assert (said.max_model_len, said.gpu_memory_utilization) == (8192, 0.9)
    for rank in (0, 1):
        words = command_of(of_vllm(tp_size=8, pp_size=2), Rank("10.0.0.1", 8000, rank, 2, "10.0.0.1", 29000)).words
        said = vllm_parser.parse_args(list(words[2:]))
        assert (said.tensor_parallel_size, said.pipeline_parallel_size) == (8, 2)
        assert (said.nnodes, said.node_rank, said.headless) == (2, rank, rank == 1)
        assert (said.master_addr, said.master_port) == ("10.0.0.1", 29000)
    from vllm import envs

    assert set(vllm_parser._option_string_actions) >= VLLM_OPTIONS | VLLM_OPTIONS_OF_LAYOUTS
    assert set(envs.environment_variables) >= VLLM_VARIABLES
    with pytest.raises(SystemExit):
        vllm_parser.parse_args(["org/model", "--no-such-option"])


def test_transformers_on_the_cpu():
    settings = ReplicaSettings(
        name="small",
        model="org/model",
        engine="transformers",
        device="cpu",
        revision="abc",
        arguments={"dtype": "float32"},
    )
    command = command_of(settings)
    assert command.words[1:] == (
        *("-m", "curator.serve.transformers_server", "serve", "org/model@abc", "--host", "127.0.0.1"),
        *("--port", "8000", "--device", "cpu", "--dtype", "float32"),
    )
    assert settings.served_model == "org/model@abc"
    assert command.variables["OMP_NUM_THREADS"] == "1"


def test_a_server_on_the_cpu_has_a_thread_for_each_core_that_it_reserves_unless_its_set_says_otherwise():
    said = {"name": "small", "model": "m", "engine": "transformers", "resources": {"cpus": 6}}
    env = {"env_vars": {"OMP_NUM_THREADS": "2"}}
    assert command_of(ReplicaSettings(**said, device="cpu")).variables["OMP_NUM_THREADS"] == "6"
    assert command_of(ReplicaSettings(**said, device="cpu", runtime_env=env)).variables["OMP_NUM_THREADS"] == "2"
    assert "OMP_NUM_THREADS" not in command_of(ReplicaSettings(**said)).variables


def test_the_options_are_those_of_the_installed_transformers():
    pytest.importorskip("transformers", reason="transformers is not installed: pip install curator[replicas]")
    pytest.importorskip("fastapi", reason="transformers cannot serve: pip install curator[replicas]")
    from transformers.cli.serve import Serve

    known = set(inspect.signature(Serve.__init__).parameters)
    settings = ReplicaSettings(name="small", model="m", engine="transformers")
    words = command_of(settings).words
    assert {word.removeprefix("--").replace("-", "_") for word in words if word.startswith("--")} <= known
    assert "force_model" in known


def test_nothing_is_fetched_for_the_tiny_model():
    command = command_of(ReplicaSettings(name="tiny", model=TINY_MODEL, engine="transformers", device="cpu"))
    assert command.words[2:5] == ("curator.serve.transformers_server", "serve", TINY_MODEL)
    assert command.variables["HF_HUB_OFFLINE"] == "1"


def test_a_command_is_filled_in_word_by_word_and_braces_can_be_meant():
    words = ["serve", "{host}:{port}", "{model} {rank}/{nnodes}", "{{{port}}}", "{api_key_file}", "$(id); rm"]
    command = command_of(ReplicaSettings(name="any", model="a b", engine="command", command=words))
    assert command.words == ("serve", "127.0.0.1:8000", "a b 0/1", "{8000}", "/run/the.key", "$(id); rm")


@pytest.mark.parametrize("engine", ["vllm", "transformers", "command"])
def test_the_key_is_among_the_variables_and_hidden_and_never_among_the_words(engine):
    words = {"command": ["serve", "{port}"]} if engine == "command" else {}
    command = command_of(ReplicaSettings(name="any", model="m", engine=engine, **words))
    assert command.variables[KEY_VARIABLE] == "the-key"
    assert "the-key" not in repr(command)
    assert not any("the-key" in word for word in command.words)


def test_variables_of_the_set_reach_its_server_and_win_over_ours_where_that_is_sensible():
    env = {"env_vars": {"HF_TOKEN": "t", "HF_HUB_OFFLINE": "0", KEY_VARIABLE: "mine"}}
    settings = ReplicaSettings(name="tiny", model=TINY_MODEL, engine="transformers", device="cpu", runtime_env=env)
    variables = command_of(settings).variables
    assert (variables["HF_TOKEN"], variables["HF_HUB_OFFLINE"], variables[KEY_VARIABLE]) == ("t", "0", "the-key")


@pytest.mark.slow
def test_the_tiny_model_is_the_same_every_time_and_is_made_without_a_network(tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="the tiny model needs torch: pip install curator[replicas]")
    pytest.importorskip("transformers", reason="the tiny model needs transformers: pip install curator[replicas]")
    import subprocess
    import sys

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    makers = [
        subprocess.Popen(
            [sys.executable, "-m", "curator.serve.tiny_model", str(tmp_path / name)], stderr=subprocess.DEVNULL
        )
        for name in ("one", "two")
    ]
    assert [maker.wait(120) for maker in makers] == [0, 0]
    files = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(files)
    assert sum(map(len, files.values())) < 2_000_000
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]
    generation = json.loads(files["generation_config.json"])
    assert len(generation["eos_token_id"]) == len(ANSWERS)  # each answer ends a message
    assert [json.loads(answer)["score"] for answer in ANSWERS[:-1]] == [0, 1, 2, 3, 4, 5]

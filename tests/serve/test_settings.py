"""What may be said about a set of replicas; every mistake is in one message."""

import pytest

from curator.errors import ConfigError
from curator.serve.settings import PLACEHOLDERS, ReplicaSettings

GOOD = {"name": "judge", "model": "org/model"}
COMMAND = {"engine": "command", "command": ["serve", "{port}"]}


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"tp_size": 0}, "tp_size: 0 must be at least 1."),
        ({"tp_size": -2}, "tp_size: -2 must be at least 1."),
        ({"pp_size": 0}, "pp_size: 0 must be at least 1."),
        ({"replicas": 0}, "replicas: 0 must be at least 1."),
        ({"start_timeout_s": float("nan")}, "start_timeout_s: nan must be at least 1."),
        ({"max_restarts": -1}, "max_restarts: -1 must be at least 0."),
        ({"name": "a.b"}, "name: 'a.b' must be letters"),
        ({"name": "../up"}, "name: '../up' must be letters"),
        ({"name": ""}, "name: '' must be letters"),
        ({"model": " "}, "model: is empty"),
        ({"model": "--trust-remote-code"}, "begins with '-'"),
        ({"device": "cpu", "tp_size": 2}, "device: on cpu, a replica is one process"),
        ({"engine": "transformers", "tp_size": 2}, "engine: transformers serves a model on one device"),
        ({"model": "curator-tiny-random"}, "is made for engine=transformers"),
        ({"resources": {"gpus": 1}}, "resources.gpus: follows from tp_size and pp_size"),
        ({"resources": {"cpu": 1}}, "resources.cpu: there is no such key. The keys are: cpus"),
        ({"resources": {"cpus": -1}}, "resources: "),
        ({"arguments": {"port": 1}}, "arguments.port: is not to be set here: curator chooses the port."),
        ({"arguments": {"--api-key": "x"}}, "arguments.--api-key: is not to be set here: a key is made for each run."),
        ({"arguments": {"a b": 1}}, "arguments.a b: is no name of an option."),
        ({"command": ["x"]}, "command: engine=vllm has its own; write engine=command."),
        ({"engine": "command"}, "command: engine=command needs the words of one"),
        ({**COMMAND, "command": ["x"]}, "command: does not say {port}"),
        ({**COMMAND, "command": ["x", "{port}", "{prot}"]}, "command: {prot} is not known. The names are: host, port"),
        ({**COMMAND, "command": ["x", "{port}", "{api_key}"]}, "everybody on the machine can read the words"),
        ({**COMMAND, "arguments": {"a": 1}}, "arguments: engine=command takes its options as words of command."),
    ],
)
def test_a_mistake_is_refused_with_its_key(said, message):
    with pytest.raises(ConfigError) as raised:
        ReplicaSettings(**{**GOOD, **said})
    assert message in str(raised.value)
    assert len(raised.value.problems) == 1


def test_all_mistakes_are_in_one_message():
    with pytest.raises(ConfigError) as raised:
        ReplicaSettings(name="a/b", model="", tp_size=0, replicas=-1, stop_timeout_s=-1, arguments={"host": "x"})
    assert [problem.partition(":")[0] for problem in raised.value.problems] == [
        *("name", "model", "replicas", "tp_size", "stop_timeout_s", "arguments.host"),
    ]


def test_every_placeholder_may_be_used():
    words = ["serve", *(f"{{{name}}}" for name in PLACEHOLDERS)]
    assert ReplicaSettings(**{**GOOD, **COMMAND, "command": words}).command == words


def test_settings_that_differ_have_other_digests_and_equal_ones_the_same():
    settings = [ReplicaSettings(**{**GOOD, **more}) for more in ({}, {"tp_size": 2}, {"runtime_env": {"a": 1}}, {})]
    assert len({each.digest for each in settings}) == 3
    assert settings[0].digest == settings[3].digest

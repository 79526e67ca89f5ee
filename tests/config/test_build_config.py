"""From plain config to objects, and every mistake of a config in one message."""

import copy

import pytest

from curator.config.build import build_executor, build_pipeline, build_stages
from curator.config.compose import compose_config, read_composed
from curator.errors import ConfigError
from curator.executors.local import LocalExecutor


def config(*overrides):
    return read_composed(compose_config(list(overrides)))


def problems_of(build, *arguments):
    with pytest.raises(ConfigError) as caught:
        build(*arguments)
    return caught.value.problems


def test_the_default_config_builds_a_pipeline_for_the_local_executor():
    pipeline, executor = build_pipeline(config())
    assert [stage.name for stage in pipeline.stages] == ["read", "exact", "write"]
    assert type(executor) is LocalExecutor


def test_building_does_not_change_the_config():
    settings = config("executor=ray_actor_pool", "+runtime_env.env_vars.A=1")
    before = copy.deepcopy(settings)
    build_pipeline(settings)
    assert settings == before


def test_a_stage_is_named_by_its_key():
    section = config()["stages"]
    stages = build_stages({"far": section["exact"], "near": section["exact"]})
    assert [stage.name for stage in stages] == ["far", "near"]


def test_settings_reach_the_constructor():
    (stage,) = build_stages({"exact": config("stages.exact.keep=longest")["stages"]["exact"]})
    assert stage.keep == "longest"


def test_keys_of_an_executor_go_to_its_constructor_or_its_config():
    section = config("executor=ray_actor_pool", "executor.num_workers=2", "executor.progress_interval=1.5")
    executor = build_executor(section["executor"])
    assert type(executor).__name__ == "RayActorPoolExecutor"
    assert executor.config["num_workers"] == 2
    assert executor.progress_interval == 1.5


def test_a_runtime_env_reaches_the_executor_and_wins_over_its_own():
    section = config("executor=ray_actor_pool")["executor"]
    section["runtime_env"] = {"env_vars": {"A": "1", "B": "1"}}
    executor = build_executor(section, {"env_vars": {"B": "2"}})
    assert executor.config["runtime_env"] == {"env_vars": {"A": "1", "B": "2"}}


@pytest.mark.parametrize("runtime_env", [None, {}])
def test_an_empty_runtime_env_asks_for_nothing(runtime_env):
    section = config("executor=ray_actor_pool")["executor"]
    assert not build_executor(section, runtime_env).config.get("runtime_env")


def test_an_unknown_key_of_an_executor_names_the_nearest_one():
    section = config("executor=ray_actor_pool")["executor"] | {"num_worker": 2}
    (problem,) = problems_of(build_executor, section)
    assert problem.startswith("executor.num_worker: there is no such key. Did you mean 'executor.num_workers'?")
    assert "config" not in problem.partition("The keys are")[2]


def test_a_value_that_a_stage_refuses_is_reported_by_its_place_in_the_config():
    section = config()["stages"]
    section["exact"]["keep"] = "frist"
    (problem,) = problems_of(build_stages, {"again": section["exact"]})
    assert problem.startswith("stages.again.keep: 'frist'")


def test_every_mistake_of_a_config_is_in_one_message():
    settings = config("+stages.exact.kep=first", "+foo=1", "+executor.adress=auto", "mode=rum")
    settings["stages"]["read"]["without_text"] = "loose"
    settings["stages"]["write"]["output_mode"] = "nwe"
    settings["stages"]["evil"] = {"_target_": "os.system", "command": "true"}
    places = [problem.partition(":")[0] for problem in problems_of(build_pipeline, settings)]
    assert places == [
        "foo",
        "mode",
        "stages.evil._target_",
        "stages.read.without_text",
        "stages.exact.kep",
        "stages.write.output_mode",
        "executor.adress",
    ]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"stages": None}, "stages: there is nothing to run."),
        ({"stages": {}}, "stages: there is nothing to run."),
        ({"stages": {"read": None}}, "stages.read: None is no mapping with a _target_."),
        ({"stages": {"read": {}}}, "stages.read._target_: is missing"),
        ({"executor": None}, "executor: nothing is chosen."),
        ({"runtime_env": "quiet"}, "runtime_env: 'quiet' is no mapping."),
        ({"stagse": {}}, "stagse: there is no such key. Did you mean 'stages'?"),
        ({"mode": "pln"}, "mode: 'pln' is not known. Did you mean 'plan'?"),
    ],
)
def test_a_broken_section_is_a_sentence(change, problem):
    problems = problems_of(build_pipeline, config() | change)
    assert len(problems) == 1
    assert problems[0].startswith(problem)


@pytest.mark.parametrize(
    "target",
    ["os.system", "builtins.open", "curator.config.conf_dir.Path", "curator.executors.local.LocalExecutor"],
)
def test_a_stage_that_is_none_is_refused_where_it_stands(target):
    settings = config()
    settings["stages"]["exact"]["_target_"] = target
    (problem,) = problems_of(build_pipeline, settings)
    assert problem.startswith(f"stages.exact._target_: '{target}'")


def test_an_object_inside_an_argument_is_refused():
    settings = config()
    settings["stages"]["exact"]["keep"] = [{"_target_": "curator.stages.dedup.exact.ExactDeduplication"}]
    assert problems_of(build_pipeline, settings)[0].startswith("stages.exact.keep.0._target_: ")


def test_a_partial_target_is_refused_once():
    settings = config()
    settings["stages"]["exact"]["_partial_"] = True
    (problem,) = problems_of(build_pipeline, settings)
    assert problem.startswith("stages.exact._partial_: is not allowed")

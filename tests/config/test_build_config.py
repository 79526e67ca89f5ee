"""From plain config to objects, and every mistake of a config in one message."""

import copy
import sys

import pytest

from curator.config.build import build_pipeline, build_run
from curator.config.compose import compose_config, read_composed
from curator.errors import ConfigError
from curator.executors.local import LocalExecutor
from curator.stages.base import ProcessingStage


def config(*overrides):
    return read_composed(compose_config(list(overrides)))


def problems_of(settings):
    with pytest.raises(ConfigError) as caught:
        build_pipeline(settings)
    return caught.value.problems


def build_stages(section):
    return build_pipeline(config() | {"stages": section})[0].stages


def build_executor(section, **more):
    return build_pipeline(config() | {"executor": section} | more)[1]


def test_the_default_config_builds_a_pipeline_for_the_local_executor():
    pipeline, executor = build_pipeline(config())
    assert [stage.name for stage in pipeline.stages] == ["read", "exact", "fuzzy", "write"]
    assert type(executor) is LocalExecutor


def test_building_does_not_change_the_config():
    settings = config("executor=ray_actor_pool", "+runtime_env.env_vars.A=x")
    before = copy.deepcopy(settings)
    build_pipeline(settings)
    assert settings == before


def test_a_stage_is_named_by_its_key():
    section = config()["stages"]
    names = {"in": section["read"], "far": section["exact"], "near": section["exact"], "out": section["write"]}
    assert [stage.name for stage in build_stages(names)] == list(names)


def test_settings_reach_the_constructor():
    _, stage, *_ = build_stages(config("stages.exact.keep=longest")["stages"])
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
    executor = build_executor(section, runtime_env={"env_vars": {"B": "2"}})
    assert executor.config["runtime_env"] == {"env_vars": {"A": "1", "B": "2"}}


@pytest.mark.parametrize("runtime_env", [None, {}])
def test_an_empty_runtime_env_asks_for_nothing(runtime_env):
    section = config("executor=ray_actor_pool")["executor"]
    assert not build_executor(section, runtime_env=runtime_env).config.get("runtime_env")


def test_an_unknown_key_of_an_executor_names_the_nearest_one():
    section = config("executor=ray_actor_pool")["executor"] | {"num_worker": 2}
    (problem,) = problems_of(config() | {"executor": section})
    assert problem.startswith("executor.num_worker: there is no such key. Did you mean 'executor.num_workers'?")
    assert "config" not in problem.partition("The keys are")[2]


def test_a_value_that_a_stage_refuses_is_reported_by_its_place_in_the_config():
    section = config()["stages"]
    section["exact"]["keep"] = "frist"
    (problem,) = problems_of(config() | {"stages": {"in": section["read"], "again": section["exact"]}})
    assert problem.startswith("stages.again.keep: 'frist'")


def test_every_mistake_of_a_config_is_in_one_message():
    settings = config("+stages.exact.kep=first", "+foo=1", "+executor.adress=auto", "mode=rum")
    settings["stages"]["read"]["without_text"] = "loose"
    settings["stages"]["write"]["output_mode"] = "nwe"
    settings["stages"]["evil"] = {"_target_": "os.system", "command": "true"}
    places = [problem.partition(":")[0] for problem in problems_of(settings)]
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
    problems = problems_of(config() | change)
    assert len(problems) == 1
    assert problems[0].startswith(problem)


@pytest.mark.parametrize(
    "target",
    ["os.system", "builtins.open", "curator.config.conf_dir.Path", "curator.executors.local.LocalExecutor"],
)
def test_a_stage_that_is_none_is_refused_where_it_stands(target):
    settings = config()
    settings["stages"]["exact"]["_target_"] = target
    (problem,) = problems_of(settings)
    assert problem.startswith(f"stages.exact._target_: '{target}'")


def test_an_object_inside_an_argument_is_refused():
    settings = config()
    settings["stages"]["exact"]["keep"] = [{"_target_": "curator.stages.dedup.exact.ExactDeduplication"}]
    assert problems_of(settings)[0].startswith("stages.exact.keep.0._target_: ")


def test_a_partial_target_is_refused_once():
    settings = config()
    settings["stages"]["exact"]["_partial_"] = True
    (problem,) = problems_of(settings)
    assert problem.startswith("stages.exact._partial_: is not allowed")


def test_types_of_arguments_are_checked_with_what_only_the_constructor_knows_in_one_message():
    settings = config()
    settings["stages"]["read"] |= {"max_depth": "deep", "without_text": "loose", "text_field": False, "split_bytes": 0}
    settings["stages"]["exact"]["kep"] = 1
    settings["stages"]["exact"]["keep"] = "frist"
    problems = problems_of(settings)
    assert sorted(problem.partition(":")[0].partition("=")[0] for problem in problems) == [
        "stages.exact.keep",
        "stages.exact.kep",
        "stages.read.max_depth",
        "stages.read.split_bytes",
        "stages.read.text_field",
        "stages.read.without_text",
    ]
    assert "stages.read.text_field: False must be text. YAML reads no and off as false: put it in quotes." in problems
    assert "stages.read.max_depth: 'deep' must be a whole number." in problems


def test_any_stage_takes_a_batch_size_resources_and_an_environment():
    settings = config(
        "executor=ray_actor_pool",
        "+stages.exact.batch_size=3",
        "+stages.exact.resources={cpus:0.5,memory_gb:2}",
        "+stages.exact.runtime_env.env_vars.A_TOKEN=x",
    )
    stage = build_run(settings).pipeline.stages[1]
    assert (stage.batch_size, stage.resources.cpus, stage.resources.memory_gb) == (3, 0.5, 2)
    assert stage.runtime_env == {"env_vars": {"A_TOKEN": "x"}}
    assert "x" not in repr(stage.runtime_env)


@pytest.mark.parametrize(
    ("typed", "problem"),
    [
        ("+stages.exact.batch_size=0", "stages.exact.batch_size: 0 must be at least 1."),
        ("+stages.exact.batch_size=many", "stages.exact.batch_size: 'many' must be a whole number."),
        ("+stages.exact.resources.cpu=2", "stages.exact.resources.cpu: there is no such key. Did you mean"),
        ("+stages.exact.resources.cpus=-1", "stages.exact.resources.cpus=-1: must be at least 0."),
        ("+stages.exact.runtime_env.env_var.A=x", "stages.exact.runtime_env.env_var: there is no such key. Did you"),
        ("+runtime_env.env_vars.A=4", "runtime_env.env_vars.A: is of type int, and must be text. Put it in quotes:"),
        ("+runtime_env.env_vars.A=true", "runtime_env.env_vars.A: is true or false, and must be text."),
        ("on_env_override=never", "on_env_override: 'never' is not known."),
        ("plan_format=jsn", "plan_format: 'jsn' is not known. Did you mean 'json'?"),
        ("executor.ignore_head_node=maybe", "executor.ignore_head_node: 'maybe' must be true or false."),
        ("output_path=7", "output_path: 7 must be text. It was read as a number: put it in quotes."),
    ],
)
def test_a_value_that_does_not_fit_is_one_sentence(typed, problem):
    problems = problems_of(config(typed))
    assert problems[0].startswith(problem)


class Maker(ProcessingStage):
    def process(self, task):
        return task

    def outputs(self):
        return ("score",)


class Taker(Maker):
    def inputs(self):
        return ("score", "text")

    def outputs(self):
        return ()


@pytest.fixture
def trusting(monkeypatch):
    monkeypatch.setitem(sys.modules, "scores", sys.modules[__name__])
    for kind in (Maker, Taker):
        monkeypatch.setattr(kind, "__module__", "scores")
    return ("curator.", "scores.")


def test_a_stage_whose_input_only_a_later_stage_makes_is_refused(trusting):
    settings = config()
    read = settings["stages"]["read"]
    taker, maker = {"_target_": "scores.Taker"}, {"_target_": "scores.Maker"}
    with pytest.raises(ConfigError) as caught:
        build_run(settings | {"stages": {"read": read, "take": taker, "make": maker}}, None, trusting)
    assert caught.value.problems == [
        "stages.take: needs the column 'score', which stages.make makes only behind it. "
        "Put make in front, as in 'stages=[...,make,take,...]'."
    ]
    build_run(settings | {"stages": {"read": read, "make": maker, "take": taker}}, None, trusting)


def test_two_stages_of_one_name_cannot_be_said(tmp_path):
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "twice.yaml").write_text("twice: {a: 1}\ntwice: {a: 2}\n")
    with pytest.raises(ConfigError, match="duplicate key twice"):
        compose_config(["stages=[read,twice]"], config_dir=str(tmp_path))

"""Who set what: layers in, the merged executor section, sources and overridden variables out."""

import pytest

from curator.config.build import build_run
from curator.config.compose import compose_config, read_composed_job
from curator.config.explain import explain
from curator.config.layers import Layer, merge_layers
from curator.config.loader import COMMAND_LINE
from curator.errors import ConfigError


@pytest.fixture
def options(tmp_path):
    """A folder of options with an executor and environments that disagree."""
    executor = (
        "# Mine.\n_target_: curator.executors.ray_actor_pool.RayActorPoolExecutor\nnum_workers: 2\n"
        "runtime_env:\n  env_vars: {A: from-executor, B: from-executor}\n  pip: [one]\n"
    )
    for name, text in (
        ("executor/mine.yaml", executor),
        ("runtime_env/mine.yaml", "env_vars: {A: from-group, C: from-group}\npip: [two]\n"),
        ("runtime_env/more.yaml", "env_vars: {D: '${oc.env:HOME}'}\n"),
        ("runtime_env/none.yaml", "env_vars: null\n"),
        ("experiment/mine.yaml", "# @package _global_\nruntime_env: {env_vars: {C: from-experiment}}\n"),
        ("experiment/nothing.yaml", "# @package _global_\nruntime_env: null\n"),
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return str(tmp_path)


def built(options, *typed):
    job = read_composed_job(compose_config(["executor=mine", *typed], config_dir=options))
    return build_run(job.plain, job.layers)


def environment(run):
    return run.executor.config["runtime_env"]


def sources(run):
    return {path[-1]: source for path, source in run.settings.executor.sources.items()}


def test_a_group_wins_over_the_executor_option_and_lists_replace(options):
    run = built(options, "runtime_env=mine")
    assert environment(run) == {
        "env_vars": {"A": "from-group", "B": "from-executor", "C": "from-group"},
        "pip": ["two"],
    }
    assert sources(run) | {
        "A": "runtime_env/mine.yaml",
        "B": "executor/mine.yaml",
        "C": "runtime_env/mine.yaml",
        "pip": "runtime_env/mine.yaml",
        "num_workers": "executor/mine.yaml",
    } == sources(run)
    assert run.settings.warnings == (
        "runtime_env.env_vars: A, set by executor/mine.yaml, is changed by runtime_env/mine.yaml.",
    )


def test_the_command_line_wins_over_the_group_also_when_it_speaks_of_the_executor(options):
    run = built(options, "runtime_env=mine", "executor.runtime_env.env_vars.A=typed", "executor.num_workers=3")
    assert environment(run)["env_vars"]["A"] == "typed"
    assert sources(run)["A"] == sources(run)["num_workers"] == COMMAND_LINE
    assert run.settings.warnings == (
        "runtime_env.env_vars: A, set by executor/mine.yaml, is changed by runtime_env/mine.yaml.",
        "runtime_env.env_vars: A, set by runtime_env/mine.yaml, is changed by command line.",
    )


def test_a_stage_wins_over_all_and_is_named(options):
    run = built(options, "+stages.exact.runtime_env.env_vars.B=own", "+stages.exact.runtime_env.pip=[three]")
    assert run.pipeline.stages[1].runtime_env == {"env_vars": {"B": "own"}, "pip": ["three"]}
    assert environment(run)["env_vars"]["B"] == "from-executor"
    (stage,) = [stage for stage in run.settings.stages if stage.name == "exact"]
    merged = stage.environment.executor["runtime_env"]
    assert merged == {"env_vars": {"A": "from-executor", "B": "own"}, "pip": ["three"]}
    assert run.settings.warnings == ("runtime_env.env_vars: B, set by executor/mine.yaml, is changed by stages.exact.",)


def test_an_experiment_is_a_layer_of_its_own(options):
    run = built(options, "runtime_env=mine", "experiment=mine")
    assert sources(run)["C"] == "experiment/mine.yaml"
    assert "C, set by runtime_env/mine.yaml, is changed by experiment/mine.yaml." in run.settings.warnings[1]


def test_several_environments_can_be_chosen(options):
    import os

    run = built(options, "runtime_env=[mine,more]")
    assert environment(run)["env_vars"]["D"] == os.environ["HOME"]
    assert sources(run)["D"] == "runtime_env/more.yaml"


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["runtime_env=inherit"], {"env_vars": {"A": "from-executor", "B": "from-executor"}, "pip": ["one"]}),
        (["runtime_env=null"], {"env_vars": {"A": "from-executor", "B": "from-executor"}, "pip": ["one"]}),
        (["runtime_env=none"], {"env_vars": None, "pip": ["one"]}),
        (["experiment=nothing"], None),
        (["executor.runtime_env=null"], None),
        (["~executor.runtime_env.pip"], {"env_vars": {"A": "from-executor", "B": "from-executor"}}),
        (["executor.runtime_env.env_vars.A=null"], {"env_vars": {"A": None, "B": "from-executor"}, "pip": ["one"]}),
        (["executor.runtime_env.pip=[]"], {"env_vars": {"A": "from-executor", "B": "from-executor"}, "pip": []}),
        (
            ["++executor.runtime_env={env_vars:{Z:z}}"],
            {"env_vars": {"A": "from-executor", "B": "from-executor", "Z": "z"}, "pip": ["one"]},
        ),
    ],
)
def test_null_lists_and_removals_do_what_the_page_says(options, typed, expected):
    assert built(options, *typed).executor.config["runtime_env"] == expected


def test_overriding_can_be_an_error_or_ignored(options):
    with pytest.raises(ConfigError) as caught:
        built(options, "runtime_env=mine", "on_env_override=error")
    assert caught.value.problems == [
        "runtime_env.env_vars: A, set by executor/mine.yaml, is changed by runtime_env/mine.yaml. "
        "Take one of them out, or allow it: 'on_env_override=warn'."
    ]
    assert built(options, "runtime_env=mine", "on_env_override=ignore").settings.warnings == ()


def test_saying_twice_the_same_is_no_override(options):
    assert built(options, "+runtime_env.env_vars.A=from-executor").settings.warnings == ()


def test_what_is_typed_is_one_layer(options):
    run = built(options, "+executor.runtime_env.env_vars.Z=a", "+runtime_env.env_vars.Z=b")
    assert environment(run)["env_vars"]["Z"] == "b"
    assert run.settings.warnings == ()


def test_layers_may_come_in_any_order():
    typed = Layer(COMMAND_LINE, "executor", {"runtime_env": {"env_vars": {"A": "3"}}})
    group = Layer("runtime_env/x.yaml", "runtime_env", {"env_vars": {"A": "2"}})
    option = Layer("executor/x.yaml", "executor", {"runtime_env": {"env_vars": {"A": "1"}}})
    for layers in ([typed, group, option], [option, group, typed], [group, typed, option]):
        assert merge_layers(layers).executor == {"runtime_env": {"env_vars": {"A": "3"}}}


def test_explain_names_the_layer_of_every_key_and_shows_no_value_of_a_variable(options):
    run = built(options, "runtime_env=mine", "executor.num_workers=3", "+stages.exact.runtime_env.env_vars.A=own")
    rows = [line.split(None, 2) for line in explain(run).splitlines()]
    layers = {key: (value, layer) for key, value, layer in rows}
    assert layers["executor.num_workers"] == ("3", "command line")
    assert layers["executor.runtime_env.env_vars.A"] == ("***", "runtime_env/mine.yaml")
    assert layers["executor.runtime_env.env_vars.B"] == ("***", "executor/mine.yaml")
    assert layers["executor.address"] == ("null", "default of RayActorPoolExecutor")
    assert layers["stages.exact.runtime_env.env_vars.A"] == ("***", "stages.exact")
    assert layers["stages.exact.runtime_env.env_vars.C"] == ("***", "runtime_env/mine.yaml")
    assert "from-" not in explain(run).replace("from-executor", "", 0)
    assert not any("own" in value for value, _ in layers.values())

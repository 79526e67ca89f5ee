"""The group replicas: every option composes, resolves and validates, and a wrong one says what is wrong."""

import pytest
import yaml

from curator.config.build import build_run
from curator.config.compose import compose_config, read_composed_job
from curator.config.conf_dir import conf_dir
from curator.config.planning import describe_plan
from curator.errors import ConfigError

FOLDER = conf_dir() / "replicas"
LAYOUTS = sorted(path.stem for path in FOLDER.glob("*.yaml"))


def built(*typed, **options):
    job = read_composed_job(compose_config([*typed, "stages=copy"], **options))
    return build_run(job.plain, job.layers)


def test_the_layouts_are_these():
    assert LAYOUTS == ["any_server", "judge_tp4", "none", "tiny_cpu"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_composes_resolves_and_validates_under_its_own_name(layout):
    sets = built(f"replicas={layout}").settings.replicas
    assert [each.name for each in sets] == ([] if layout == "none" else [layout])
    content = yaml.safe_load((FOLDER / f"{layout}.yaml").read_text())
    assert list(content) == ([] if layout == "none" else [layout])


def test_layouts_go_together_and_none_is_the_default():
    chosen = "replicas=[judge_tp4,tiny_cpu,any_server]"
    assert [each.name for each in built(chosen).settings.replicas] == ["judge_tp4", "tiny_cpu", "any_server"]
    assert built().settings.replicas == ()
    assert built("replicas=null").settings.replicas == ()
    assert built("replicas=[none,tiny_cpu]").settings.replicas[0].name == "tiny_cpu"


def test_values_of_a_layout_can_be_typed():
    (tiny,) = built(
        "replicas=tiny_cpu", "replicas.tiny_cpu.replicas=3", "replicas.tiny_cpu.max_restarts=0"
    ).settings.replicas
    assert (tiny.replicas, tiny.max_restarts) == (3, 0)


def test_all_mistakes_of_all_sets_are_in_one_message():
    with pytest.raises(ConfigError) as raised:
        built(
            "replicas=[tiny_cpu,judge_tp4]",
            *("replicas.tiny_cpu.tp_size=0", "+replicas.tiny_cpu.modle=x", "replicas.judge_tp4.engine=vlm"),
            *("replicas.judge_tp4.start_timeout_s=soon", "+replicas.judge_tp4.runtime_env.env_var=3"),
        )
    said = str(raised.value)
    assert "replicas.tiny_cpu.modle: there is no such key. Did you mean 'replicas.tiny_cpu.model'?" in said
    assert "replicas.tiny_cpu.tp_size: 0 must be at least 1." in said
    assert "replicas.judge_tp4.engine: 'vlm' is not known. Did you mean 'vllm'?" in said
    assert "replicas.judge_tp4.start_timeout_s: 'soon' must be a number." in said
    assert "replicas.judge_tp4.runtime_env.env_var: there is no such key." in said
    assert len(raised.value.problems) == 5


def test_a_layout_that_is_not_there_names_the_nearest():
    with pytest.raises(ConfigError, match=r"no option 'judge_tp' in the group replicas. Did you mean 'judge_tp4'"):
        built("replicas=judge_tp")


def test_two_files_that_make_one_set_are_refused_and_one_that_changes_another_is_not(tmp_path):
    folder = tmp_path / "replicas"
    folder.mkdir()
    (folder / "mine.yaml").write_text("# Mine.\ntiny_cpu: {model: another, engine: vllm}\n")
    (folder / "more.yaml").write_text("# More of them.\ndefaults: [tiny_cpu, _self_]\ntiny_cpu: {replicas: 4}\n")
    with pytest.raises(ConfigError, match=r"replicas.tiny_cpu: replicas/tiny_cpu.yaml and replicas/mine.yaml are two"):
        built("replicas=[tiny_cpu,mine]", config_dir=str(tmp_path))
    assert built("replicas=more", config_dir=str(tmp_path)).settings.replicas[0].replicas == 4


def test_a_set_that_is_chosen_twice_is_refused():
    with pytest.raises(ConfigError, match=r"tiny_cpu is chosen twice. .*replicas.tiny_cpu.replicas=2"):
        built("replicas=[tiny_cpu,tiny_cpu]")


def test_the_environment_of_a_set_is_merged_over_that_of_the_run_with_a_warning():
    words = ["executor=ray_actor_pool", "runtime_env=offline", "replicas=judge_tp4"]
    run = built(*words, "+replicas.judge_tp4.runtime_env.env_vars.HF_HUB_OFFLINE='0'")
    (judge,) = run.settings.replicas
    variables = judge.runtime_env["env_vars"]
    assert (variables["TRANSFORMERS_OFFLINE"], variables["HF_HUB_OFFLINE"]) == ("1", "0")
    assert run.settings.warnings == (
        "runtime_env.env_vars: HF_HUB_OFFLINE, set by runtime_env/offline.yaml, is changed by replicas.judge_tp4.",
    )
    with pytest.raises(ConfigError, match="HF_HUB_OFFLINE"):
        built(*words, "+replicas.judge_tp4.runtime_env.env_vars.HF_HUB_OFFLINE='0'", "on_env_override=error")


def test_a_plan_shows_replicas_bundles_and_nodes():
    plan = describe_plan(built("replicas=tiny_cpu", "replicas.tiny_cpu.replicas=2"))
    lines = [line.removeprefix("placement").split() for line in plan.splitlines() if "tiny_cpu-" in line]
    assert [line[0] for line in lines] == ["tiny_cpu-0", "tiny_cpu-1"]
    assert all(line[-2:] == ["this", "machine"] for line in lines)
    elsewhere = describe_plan(built("replicas=judge_tp4", "executor=ray_actor_pool", "executor.address=127.0.0.1:9"))
    assert "judge_tp4" in elsewhere
    assert "TP=4" in elsewhere
    assert "no placement groups" in describe_plan(built())


def test_a_plan_for_gpus_that_are_not_there_is_refused():
    with pytest.raises(ConfigError, match=r"replicas.judge_tp4: "):
        describe_plan(built("replicas=judge_tp4", "replicas.judge_tp4.tp_size=512"))


def test_folders_of_the_job_are_left_to_ray_which_takes_them_once(tmp_path):
    words = ["executor=ray_actor_pool", f"+runtime_env.working_dir={tmp_path}", "+runtime_env.env_vars.A='1'"]
    (judge,) = built(*words, "replicas=judge_tp4", "+replicas.judge_tp4.runtime_env.pip=[x]").settings.replicas
    assert judge.runtime_env["pip"] == ["x"]
    assert judge.runtime_env["env_vars"]["A"] == "1"
    assert "working_dir" not in judge.runtime_env

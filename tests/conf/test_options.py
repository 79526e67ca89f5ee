"""Every shipped option composes, resolves, and looks as the conventions say."""

import pytest
import yaml

from curator.config.build import build_pipeline
from curator.config.compose import compose_config, read_composed
from curator.config.conf_dir import conf_dir

CONF = conf_dir()
OPTIONS = sorted(path.relative_to(CONF).with_suffix("").as_posix() for path in CONF.rglob("*.yaml"))
ATOMS = ("exact", "fuzzy", "keep_above", "llm_score", "read", "write")
PRESETS = ("copy", "dedup", "exact_normalised", "fuzzy_fineweb", "fuzzy_nemo", "llm_quality")
EXPERIMENTS = [option.partition("/")[2] for option in OPTIONS if option.startswith("experiment/")]


def of_group(*groups):
    return [option for option in OPTIONS if option.rpartition("/")[0] in groups]


def read_overrides(*overrides, **options):
    return read_composed(compose_config(list(overrides), **options))


@pytest.mark.parametrize("option", of_group("executor", "runtime_env", "stages", "experiment"))
def test_every_option_composes_and_resolves(option):
    group, _, name = option.rpartition("/")
    assert read_overrides(f"{group}={name}")["stages"]


@pytest.mark.parametrize("option", of_group("executor", "runtime_env", "experiment"))
def test_every_option_builds(option):
    group, _, name = option.rpartition("/")
    build_pipeline(read_overrides(f"{group}={name}"))


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_builds(preset):
    server = ["stages.llm_score.endpoint=http://a:1/v1", "stages.llm_score.model=m"] if "llm" in preset else []
    build_pipeline(read_overrides(f"stages={preset}", *server))


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_says_first_what_it_is_for_and_is_short(option):
    lines = (CONF / f"{option}.yaml").read_text().splitlines()
    assert len(lines) <= 25
    # Hydra wants its package header in front of everything else.
    purpose = lines[1] if lines[0].startswith("# @package") else lines[0]
    assert purpose.startswith("# ")
    assert purpose.endswith(".")


def test_every_stage_option_is_an_atom_or_a_preset():
    assert of_group("stages") == [f"stages/{name}" for name in sorted((*ATOMS, *PRESETS))]


@pytest.mark.parametrize("atom", ATOMS)
def test_an_atom_has_one_root_key_which_is_its_file_name(atom):
    assert list(yaml.safe_load((CONF / "stages" / f"{atom}.yaml").read_text())) == [atom]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_a_list_of_defaults(preset):
    content = yaml.safe_load((CONF / "stages" / f"{preset}.yaml").read_text())
    assert next(iter(content)) == "defaults"
    assert set(content["defaults"]) <= {*ATOMS, "_self_"}


@pytest.mark.parametrize(
    ("typed", "order"),
    [
        ("stages=[read,exact,write]", ["read", "exact", "write"]),
        ("stages=[write,exact,read]", ["write", "exact", "read"]),
        ("stages=[read,write]", ["read", "write"]),
        ("stages=read", ["read"]),
        ("stages=dedup", ["read", "exact", "fuzzy", "write"]),
        ("stages=[dedup]", ["read", "exact", "fuzzy", "write"]),
        ("stages=copy", ["read", "write"]),
        ("~stages.exact", ["read", "fuzzy", "write"]),
    ],
)
def test_stages_are_chosen_and_ordered_by_what_is_typed(typed, order):
    assert list(read_overrides(typed)["stages"]) == order


def test_the_default_is_deduplication_of_the_embedded_input_in_one_process():
    settings = read_overrides("hydra.run.dir=/run")
    assert settings["stages"]["read"]["input_path"] == "embedded"
    assert settings["stages"]["write"]["output_path"] == "/run/output"
    assert settings["stages"]["write"]["output_mode"] == "new"
    assert settings["executor"]["_target_"].endswith(".LocalExecutor")
    assert list(settings["stages"]) == ["read", "exact", "fuzzy", "write"]


def test_root_values_reach_the_stages():
    typed = ("input_path=[a,b/*.jsonl]", "output_path=/out", "output_mode=replace")
    stages = read_overrides(*typed)["stages"]
    assert stages["read"]["input_path"] == ["a", "b/*.jsonl"]
    assert stages["write"] | {"output_path": "/out", "output_mode": "replace"} == stages["write"]


def test_the_normalised_preset_differs_from_dedup_in_case_and_white_space_only():
    plain, normalised = (
        read_overrides(f"stages={name}", "hydra.run.dir=/run")["stages"] for name in ("dedup", "exact_normalised")
    )
    assert plain["exact"] | {"case": "lower", "white_space": "collapse"} == normalised.pop("exact")
    del plain["exact"], plain["fuzzy"]
    assert plain == normalised


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_command_line_wins_over_an_experiment(name):
    settings = read_overrides(f"experiment={name}", "executor=local", "stages.write.format=parquet")
    assert settings["executor"]["_target_"].endswith(".LocalExecutor")
    assert settings["stages"]["write"]["format"] == "parquet"


def test_a_folder_of_the_user_adds_options(tmp_path):
    (tmp_path / "stages").mkdir()
    target = "curator.stages.dedup.exact.ExactDeduplication"
    (tmp_path / "stages" / "mine.yaml").write_text(f"# Mine.\nmine: {{_target_: {target}, keep: longest}}\n")
    settings = read_overrides("stages=[read,mine,write]", "stages.mine.keep=first", config_dir=str(tmp_path))
    assert list(settings["stages"]) == ["read", "mine", "write"]
    assert settings["stages"]["mine"] == {"_target_": target, "keep": "first"}


def test_every_key_of_a_constructor_is_in_its_option():
    from inspect import signature

    from curator.config.targets import resolve_target

    settings = read_overrides("executor=ray_actor_pool")
    for name, section in settings["stages"].items():
        kind = resolve_target(section["_target_"], f"stages.{name}", object)
        assert set(signature(kind).parameters) == set(section) - {"_target_"}
        for key, parameter in signature(kind).parameters.items():
            if parameter.default is not parameter.empty and key not in ("input_path", "output_path"):
                default = list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
                assert section[key] == default, f"stages.{name}.{key}"

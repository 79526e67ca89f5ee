"""What was typed, and what is said about it: a table of mistakes, each with its one message."""

import pytest

from curator.config.command_line import parse_words
from curator.config.compose import compose_config, is_sweep, read_composed
from curator.errors import ConfigError


def problems_of(*overrides, **options):
    with pytest.raises(ConfigError) as caught:
        compose_config(list(overrides), **options)
    return caught.value.problems


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("stges=dedup", "stges=dedup: there is no key 'stges'. Did you mean 'stages=dedup'?"),
        ("executer=local", "executer=local: there is no key 'executer'. Did you mean 'executor=local'?"),
        (
            "stages.exact.kep=first",
            "stages.exact.kep=first: there is no key 'kep' in stages.exact. "
            "Did you mean 'stages.exact.keep=first'? The keys are: against, case, ",
        ),
        (
            "stages.exat.keep=first",
            "stages.exat.keep=first: there is no key 'exat' in stages. Did you mean 'stages.exact.keep=first'?",
        ),
        (
            "executor=ray_actor_pol",
            "executor=ray_actor_pol: there is no option 'ray_actor_pol' in the group executor. "
            "Did you mean 'ray_actor_pool'? The options are: local, ",
        ),
        (
            "stages=[read,exct,write]",
            "stages=[read,exct,write]: there is no option 'exct' in the group stages. Did you mean 'exact'?",
        ),
        ("experiment=laptop", "experiment=laptop: there is no option 'laptop' in the group experiment."),
        ("hydra/launcher=basik", "hydra/launcher=basik: there is no option 'basik' in the group hydra/launcher."),
        ("~stags", "~stags: there is no key 'stags'. Did you mean 'stages'?"),
        ("~stages.exat", "~stages.exat: there is no key 'exat' in stages. Did you mean 'stages.exact'?"),
        ("stages={exat:{keep:first}}", "stages={exat:{keep:first}}: there is no key 'exat' in stages."),
        ("hydra.run.dr=x", "hydra.run.dr=x: there is no key 'dr' in hydra.run. Did you mean 'hydra.run.dir=x'?"),
        ("mode.x=1", "mode.x=1: mode is a value and has no keys."),
        ("executor=null", "executor=null: choose an option. The options are: local, "),
        (
            "executor.num_workers=2",
            "executor.num_workers=2: there is no key 'num_workers' in executor. "
            "It is a key of 'executor=ray_actor_pool', 'executor=ray_data'. "
            "The keys are: ignore_head_node, one_pass_bytes.",
        ),
        ("wholly_unlike=1", "wholly_unlike=1: there is no key 'wholly_unlike'. The keys are: executor, "),
        ("stages=[read", "stages=[read: cannot be read as key=value. A bracket is missing"),
        ('input_path="a', 'input_path="a: cannot be read as key=value. A quote is missing'),
        (
            "input_path=a=b",
            "input_path=a=b: cannot be read as key=value. "
            "A value with special characters is quoted twice: 'input_path=\"a=b\"'.",
        ),
        ("mode", "mode: cannot be read as key=value. Write 'mode=VALUE'."),
        ("=plan", "=plan: cannot be read as key=value."),
        (
            "executor=local,ray_actor_pool",
            "executor=local,ray_actor_pool: one run takes one value. Add -m to run once for each",
        ),
        ("hydra.searchpath=[/no/such/folder]", "provider=hydra.searchpath in command-line, path=/no/such/folder"),
        ("+hydra.callbacks={x:{_target_:os.system}}", "hydra.callbacks.x._target_: 'os.system' lies outside"),
        ("hydra.launcher._target_=os.system", "hydra.launcher._target_: 'os.system' lies outside"),
    ],
)
def test_a_mistake_gets_one_message_with_the_typed_text_and_the_nearest_right_one(typed, message):
    problems = problems_of(typed)
    assert len(problems) == 1
    assert problems[0].startswith(message)


def test_all_mistakes_are_named_at_once():
    problems = problems_of("executor=locl", "stages.exact.kep=first", "stages=[read", "mode=plan", "inptu_path=x")
    assert [problem.partition(":")[0] for problem in problems] == [
        "stages=[read",
        "executor=locl",
        "stages.exact.kep=first",
        "inptu_path=x",
    ]


def test_a_key_is_checked_in_the_options_that_are_chosen():
    assert compose_config(["executor.num_workers=3", "executor=ray_actor_pool"]).executor.num_workers == 3
    assert problems_of("executor.num_workers=3", "executor=local")[0].startswith("executor.num_workers=3: ")


def test_points_of_a_sweep_are_checked_too():
    assert "'exct'" in problems_of("stages=[read,exct],dedup", multirun=True)[0]
    assert "'kep'" in problems_of("stages.exact.kep=first,longest", multirun=True)[0]
    assert problems_of("mode=plan,run", multirun=True) == ["mode=plan,run: a sweep has one mode for all its points."]


@pytest.mark.parametrize(
    "typed",
    [
        ["executor=ray_actor_pool,local", "executor.num_workers=2"],
        ["executor=ray_actor_pool", "executor.num_workers=range(1,3)"],
        ["stages=[read,write],[read,exact,write]", "stages.read.max_depth=1,2"],
        ["executor=glob(*)"],
    ],
)
def test_keys_of_a_sweep_are_those_of_its_first_point(typed):
    assert is_sweep(compose_config(typed, multirun=True))


@pytest.mark.parametrize(
    ("overrides", "multirun", "expected"),
    [([], False, False), (["stages=dedup,copy"], True, True), (["hydra.mode=MULTIRUN"], False, True)],
)
def test_a_sweep_is_one_by_flag_or_by_config(overrides, multirun, expected):
    assert is_sweep(compose_config(overrides, multirun=multirun)) is expected


def test_a_missing_folder_of_options_is_named():
    assert problems_of(config_dir="no/such/folder")[0].startswith("--config-dir no/such/folder: there is no folder")


def test_a_missing_primary_config_is_named_without_a_search_path():
    assert problems_of(config_name="nope") == [
        "Cannot find primary config 'nope'. Check that it's in your config search path."
    ]


def test_a_broken_file_of_the_user_is_named_with_its_line(tmp_path):
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "mine.yaml").write_text("mine:\n  a: [1\n")
    problems = problems_of("stages=[read,mine]", config_dir=str(tmp_path))
    assert "mine.yaml" in problems[0]
    assert "line " in problems[0]


def test_reading_a_composed_config_makes_no_directory(tmp_path):
    settings = read_composed(compose_config([f"hydra.run.dir={tmp_path}/run"]))
    assert settings["output_path"] == f"{tmp_path}/run/output"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("typed", "flags", "overrides"),
    [
        (["mode=plan", "-m", "stages=dedup,copy"], {"multirun": True}, ["mode=plan", "stages=dedup,copy"]),
        (["-cd", "my conf", "mode=plan"], {"config_dir": "my conf"}, ["mode=plan"]),
        (["--cfg", "job", "--resolve"], {"cfg": "job", "resolve": True}, []),
        (["--info"], {"info": "all"}, []),
        (["--trust", "a,b", "mode=plan", "--trust=c"], {"trust": ["a,b", "c"]}, ["mode=plan"]),
        ([], {}, []),
    ],
)
def test_flags_may_stand_anywhere(typed, flags, overrides):
    arguments = parse_words(typed)
    assert arguments.overrides == overrides
    assert {key: value for key, value in vars(arguments).items() if value and key != "overrides"} == flags


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["--multirn"], "unrecognized arguments: --multirn. Did you mean '--multirun'?"),
        (["--cfg", "jb"], "argument --cfg/-c: invalid choice: 'jb'"),
        (["--resolve"], "--resolve: goes with --cfg or --help."),
        (["-m", "--cfg", "job"], "--multirun: does not go with --cfg."),
        (["verfy", "out"], "verfy: is neither key=value nor a subcommand. Did you mean 'verify'?"),
        (["--experimental-rerun", "x.pickle"], "--experimental-rerun: a pickle is a program"),
    ],
)
def test_a_wrong_flag_or_subcommand_names_the_nearest_one(typed, message):
    with pytest.raises(ConfigError) as caught:
        parse_words(typed, ["show", "status", "verify"])
    assert str(caught.value).startswith(message)

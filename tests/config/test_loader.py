"""Files that would hurt by being read, and Hydra's own part of a config: refused before anything happens."""

import time

import pytest
from omegaconf import OmegaConf

from curator.config.compose import compose, compose_config, read_composed
from curator.config.hydra_gate import check_hydra_part
from curator.config.loader import LARGEST_FILE_BYTES, check_file
from curator.errors import ConfigError

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.fixture
def theirs(tmp_path):
    """Writes an option of a stranger; gives back how it is chosen."""

    def write(text, option="experiment/theirs"):
        path = tmp_path / f"{option}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        group, _, name = option.partition("/")
        return [f"{group}={name}"]

    write.folder = str(tmp_path)
    return write


def problems_of(theirs, typed):
    with pytest.raises(ConfigError) as caught:
        read_composed(compose_config(typed, config_dir=theirs.folder))
    assert "Traceback" not in str(caught.value)
    return caught.value.problems


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (BOMB, "its aliases stand for"),
        ("a: &a [*a]\n", "is nested too deeply, or holds an alias of itself"),
        (f"a: {'x' * LARGEST_FILE_BYTES}\n", "bytes long, and a config may have 1,048,576"),
        ("a: !!python/object/apply:os.system ['touch canary']\n", "could not determine a constructor"),
        ("a: !!python/name:os.system\n", "could not determine a constructor"),
        ("a: [" * 2000, "recursion"),
    ],
    ids=["bomb", "itself", "large", "python", "name", "deep"],
)
def test_a_file_that_is_a_weapon_is_refused_quickly_and_by_name(theirs, text, problem, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    typed = theirs(f"# @package _global_\n{text}")
    begun = time.process_time()
    (found,) = problems_of(theirs, typed)
    assert time.process_time() - begun < 20
    assert problem in found
    assert not (tmp_path / "canary").exists()


def test_ordinary_aliases_are_fine(theirs, tmp_path):
    typed = theirs(
        "# @package _global_\nruntime_env:\n  env_vars: &v {A: x}\nstages: {exact: {runtime_env: {env_vars: *v}}}\n"
    )
    settings = read_composed(compose_config(typed, config_dir=theirs.folder))
    assert settings["stages"]["exact"]["runtime_env"] == settings["runtime_env"]
    check_file(str(tmp_path / "experiment" / "theirs.yaml"))


TARGET = "{_target_: pathlib.Path.touch, self: canary}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"hydra: {{callbacks: {{x: {TARGET}}}}}", "hydra.callbacks.x._target_: 'pathlib.Path.touch' lies outside"),
        (f"evil: {{x: {TARGET}}}\nhydra: {{callbacks: '${{evil}}'}}", "hydra.callbacks: '${evil}'"),
        (f"evil: {TARGET}\nhydra: {{callbacks: {{x: '${{evil}}'}}}}", "hydra.callbacks.x: '${evil}'"),
        (
            "name: pathlib.Path.touch\nhydra: {callbacks: {x: {_target_: '${name}', self: canary}}}",
            "hydra.callbacks.x._target_: '${name}' is no name of a class",
        ),
        ("hydra: {launcher: {_target_: os.system}}", "hydra.launcher._target_: 'os.system' lies outside"),
        (f"hydra: {{sweeper: {{params: {{a: [{TARGET}]}}}}}}", "hydra.sweeper.params.a.0._target_: "),
        (
            "hydra: {callbacks: {x: {_target_: hydra.utils.call, _args_: [a]}}}",
            "hydra.callbacks.x._args_: is not allowed.",
        ),
        (
            "hydra: {job_logging: {handlers: {x: {(): pathlib.Path.touch, self: canary}}}}",
            "hydra.job_logging.handlers.x.(): a factory of loggers is a program",
        ),
        (
            "hydra: {hydra_logging: {formatters: {x: {factory: os.system}}}}",
            "hydra.hydra_logging.formatters.x.factory: a factory of loggers is a program",
        ),
        (
            "hydra: {job_logging: {handlers: {x: {class: logging.FileHandler, filename: canary}}}}",
            "hydra.job_logging.handlers.x.filename: 'canary': a log file lies in the run's directory",
        ),
        (
            "hydra: {job_logging: {handlers: {x: {class: logging.handlers.SMTPHandler}}}}",
            "hydra.job_logging.handlers.x.class: 'logging.handlers.SMTPHandler' is not allowed.",
        ),
        (
            "hydra: {job_logging: {handlers: {x: {class: logging.StreamHandler, stream: ext://os.environ}}}}",
            "hydra.job_logging.handlers.x.stream: 'ext://os.environ' is not allowed.",
        ),
        (
            "text: ext://os.environ\nhydra: {job_logging: {handlers: {x: {stream: 'ext:${text}'}}}}",
            "hydra.job_logging.handlers.x.stream: 'ext:${text}': what it stands for would pass unseen.",
        ),
        (
            "hydra: {job: {env_set: {LD_PRELOAD: /canary.so}}}",
            "hydra.job.env_set.LD_PRELOAD: decides which code is run.",
        ),
        ("hydra: {job: {env_set: {PYTHONPATH: /theirs}}}", "hydra.job.env_set.PYTHONPATH: decides which code is run."),
        ("evil: {PYTHONPATH: /theirs}\nhydra: {job: {env_set: '${evil}'}}", "hydra.job.env_set: '${evil}'"),
    ],
)
def test_hydra_gets_no_program_from_a_file(theirs, text, problem, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = problems_of(theirs, theirs(f"# @package _global_\n{text}\n"))
    assert any(each.startswith(problem) for each in found), found
    assert not (tmp_path / "canary").exists()


def test_variables_of_a_job_that_load_no_code_are_fine(theirs):
    text = "# @package _global_\nhydra: {job: {env_set: {OMP_NUM_THREADS: '1', PYTHONHASHSEED: '0'}}}\n"
    config = compose_config(theirs(text), config_dir=theirs.folder)
    assert config.hydra.job.env_set.OMP_NUM_THREADS == "1"


@pytest.mark.parametrize("option", ["default", "disabled", "none", "stdout"])
def test_the_loggers_that_hydra_ships_are_fine(option):
    compose_config([f"hydra/job_logging={option}"])


def test_the_points_of_a_sweep_pass_the_gate_too(theirs):
    theirs("# @package _global_\nhydra: {callbacks: {x: {_target_: os.system}}}\n")
    typed = ["experiment=laptop_ray,theirs"]
    with compose(typed, config_dir=theirs.folder, multirun=True) as composition:
        loader = composition.hydra.config_loader
        with pytest.raises(ConfigError, match=r"hydra\.callbacks\.x\._target_: 'os\.system' lies outside"):
            loader.load_sweep_config(composition.config, ["experiment=theirs"])


@pytest.mark.parametrize("key", ["target", "_target", "class", "cls", "__target__", "_name_"])
def test_names_that_older_hydras_took_for_targets_are_unknown_keys(theirs, key):
    from curator.config.build import build_run

    typed = theirs(f"exact: {{{key}: os.system}}\n", option="stages/theirs")
    settings = read_composed(compose_config([*typed, "stages=[dedup,theirs]"], config_dir=theirs.folder))
    with pytest.raises(ConfigError) as caught:
        build_run(settings)
    assert caught.value.problems[0].startswith(f"stages.exact.{key}: there is no such key.")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("output_path: '/tmp/${oc.env:AWS_SECRET}'", "output_path"),
        ("input_path: ['${oc.env:AWS_${x}}']\nx: SECRET", "input_path.0"),
        ("output_path: \"${oc.decode:'${oc.env:AWS_SECRET}'}\"", "output_path"),
        (
            "output_path: '${runtime_env.env_vars.T}'\nruntime_env: {env_vars: {T: '${oc.env:AWS_SECRET}'}}",
            "output_path",
        ),
    ],
)
def test_a_secret_of_the_environment_gets_nowhere_but_into_the_environment(theirs, text, place, monkeypatch):
    monkeypatch.setenv("AWS_SECRET", "canary_value_1")
    problems = problems_of(theirs, theirs(f"# @package _global_\n{text}\n"))
    assert any(problem.startswith(f"{place}: ") for problem in problems)
    assert all("stands for a secret" in problem for problem in problems)
    assert "canary_value_1" not in str(problems)


def test_a_secret_in_the_name_of_the_run_directory_is_refused(theirs, monkeypatch):
    monkeypatch.setenv("AWS_SECRET", "canary_value_1")
    (problem,) = problems_of(theirs, theirs("# @package _global_\nhydra: {run: {dir: 'x/${oc.env:AWS_SECRET}'}}\n"))
    assert problem.startswith("hydra.run.dir: 'x/***' holds a secret")


@pytest.mark.parametrize(
    ("launcher", "problem"),
    [
        ({"setup": ["touch canary"]}, "hydra.launcher.setup=['touch canary']: commands for a shell are not allowed."),
        ({"comment": "a\ntouch canary"}, "hydra.launcher.comment='a\\ntouch canary': has a character"),
        ({"additional_parameters": {"a\nb": "c"}}, "hydra.launcher.additional_parameters: 'a\\nb' is no name"),
        ({"additional_parameters": {"a": ["c\x1b"]}}, "hydra.launcher.additional_parameters.a.0='c\\x1b': has a char"),
    ],
)
def test_a_launcher_gets_no_line_of_a_job_script(launcher, problem):
    (found,) = check_hydra_part(OmegaConf.create({"hydra": {"launcher": launcher}}))
    assert found.startswith(problem)
    assert check_hydra_part(OmegaConf.create({"hydra": {"launcher": {"setup": None, "comment": "one line"}}})) == []

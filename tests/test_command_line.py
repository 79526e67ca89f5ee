"""The command as it is typed: a process, its exit code, and what it prints where."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def environment(**more):
    kept = {key: value for key, value in os.environ.items() if key not in ("HYDRA_FULL_ERROR", "PYTHONWARNINGS")}
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"} | more


@pytest.fixture
def curator(tmp_path, forked):
    """Runs the command in an empty folder."""
    folder = tmp_path / "work"
    folder.mkdir()

    def run(*words, **more):
        return forked(words, cwd=folder, env=environment(**more))

    run.folder = folder
    return run


@pytest.fixture
def documents(curator):
    """A small corpus with one duplicate, in the folder where the command runs."""
    path = curator.folder / "in.jsonl"
    texts = ["one", "two", "one", "three"]
    path.write_text("".join(json.dumps({"id": str(row), "text": text}) + "\n" for row, text in enumerate(texts)))
    return path.name


def assert_refused(result, *parts, code=2):
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    for part in parts:
        assert part in result.stderr


def test_help_shows_groups_options_examples_subcommands_and_flags(curator):
    text = curator("--help").stdout
    for part in (
        "executor: local, ray_actor_pool",
        "runtime_env: inherit, offline, quiet, vllm",
        "stages: copy, dedup, exact, exact_normalised, fuzzy, ",
        "executor=ray_actor_pool stages=dedup",
        "curator verify|show|status OUTPUT",
        "curator shards OUTPUT",
        "--cfg job",
        "--config-dir",
    ):
        assert part in text
    assert "_dummy" not in text


def test_help_names_every_subcommand(curator):
    from curator.__main__ import SUBCOMMANDS

    named = {word for line in curator("--help").stdout.splitlines() for word in re.split(r"[\s|]+", line)}
    assert set(SUBCOMMANDS) <= named


@pytest.mark.parametrize("words", [["--help"], ["--cfg", "job"], ["--version"], ["stges=dedup"]])
def test_nothing_heavy_is_imported_before_it_is_needed(words, tmp_path):
    code = (
        "import sys; from curator.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'ray', 'numba', 'torch', 'pandas', 'pyarrow', 'numpy'} & set(sys.modules)\n"
        "print('HEAVY', sorted(heavy))"
    )
    command = [sys.executable, "-c", code, *words]
    result = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert "HEAVY []" in result.stdout, result.stdout + result.stderr


def test_a_plan_imports_neither_ray_nor_a_compiler(documents, curator, tmp_path):
    code = (
        "import sys; from curator.__main__ import main; main(); print(sys.modules.keys() & {'ray', 'numba', 'torch'})"
    )
    command = [sys.executable, "-c", code, "mode=plan", f"input_path={documents}"]
    result = subprocess.run(
        command, cwd=curator.folder, env=environment(), capture_output=True, text=True, timeout=120, check=False
    )
    assert result.stdout.endswith("set()\n"), result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["stges=dedup"], "Did you mean 'stages=dedup'?"),
        (["executer=local"], "Did you mean 'executor=local'?"),
        (["stages.exact.kep=first"], "Did you mean 'stages.exact.keep=first'?"),
        (["executor=ray_actor_pol"], "Did you mean 'ray_actor_pool'?"),
        (["stages=[read,exct,write]"], "Did you mean 'exact'?"),
        (["stages=[read"], "stages=[read: cannot be read as key=value."),
        (["executor=local,ray_actor_pool"], "Add -m to run once for each"),
        (["-cd", "nowhere"], "--config-dir nowhere: there is no folder"),
        (["-cn", "nowhere"], "Cannot find primary config 'nowhere'"),
        (["verfy", "out"], "Did you mean 'verify'?"),
        (["--multirn"], "Did you mean '--multirun'?"),
        (["stages.exact.keep=frist"], "stages.exact.keep: 'frist'"),
        (["+stages.exact.kep=first"], "stages.exact.kep: there is no such key. Did you mean 'stages.exact.keep'?"),
        (["+colour=red"], "colour: there is no such key."),
        (["input_path=???"], "input_path: a value is missing."),
        (["input_path='${nowhere}'"], "'${nowhere}' cannot be resolved"),
        (["stages.exact._target_=os.system"], "stages.exact._target_: 'os.system' lies outside the trusted packages"),
        (["-m", "stages=dedup,cpy"], "Did you mean 'copy'?"),
        (["mode=rum"], "mode: 'rum' is not known. Did you mean 'run'?"),
        (["executor.ignore_head_node=maybe"], "executor.ignore_head_node: 'maybe' must be true or false."),
        (["stages.read.max_depth=deep"], "stages.read.max_depth: 'deep' must be a whole number."),
        (["stages.read.text_field=true"], "stages.read.text_field: True must be text. YAML reads yes and on as true"),
        (["--trust", "a-b"], "--trust: 'a-b' is no name of a package."),
        (["executor=ray_actor_pool", "+stages.exact.resources.gpus=99", "mode=plan"], "this machine has"),
    ],
)
def test_a_mistake_of_the_user_is_one_message_and_leaves_nothing_behind(curator, words, message):
    assert_refused(curator(*words), message)
    assert list(curator.folder.iterdir()) == []


def test_all_mistakes_are_told_at_once(curator):
    result = curator("executor=locl", "stages.exact.kep=first", "stages=[read")
    assert_refused(result, "'locl'", "'kep'", "stages=[read: ")
    assert len(result.stderr.splitlines()) == 3


def test_a_missing_input_is_named_before_anything_is_written(curator):
    assert_refused(curator("input_path=missing/*.jsonl", "output_path=out"), "missing/*.jsonl")
    assert not (curator.folder / "out").exists()


def test_a_secret_in_a_mistake_is_masked(curator):
    result = curator("inptu_path=s3://user:pass1234@bucket/x", "hf=hf_secret_value", HF_TOKEN="hf_secret_value")
    assert_refused(result, "s3://***@bucket", "hf=***")
    assert "hf_secret_value" not in result.stderr
    assert "pass1234" not in result.stderr


def test_a_run_prints_its_table_on_stdout_and_logs_in_its_run_directory(curator, documents):
    result = curator(f"input_path={documents}", "hydra.run.dir=run")
    assert result.returncode == 0, result.stderr
    assert "exact" in result.stdout
    run = curator.folder / "run"
    assert [json.loads(line)["record"]["level"]["name"] for line in (run / "curator.jsonl").read_text().splitlines()]
    assert (run / ".hydra" / "overrides.yaml").exists()
    assert (run / "output").is_dir()


def test_a_plan_is_printed_and_leaves_nothing_behind(curator, documents):
    result = curator(f"input_path={documents}", "mode=plan")
    assert result.returncode == 0, result.stderr
    assert "exact" in result.stdout
    assert [path.name for path in curator.folder.iterdir()] == [documents]


def test_a_plan_can_be_read_by_a_machine(curator, documents):
    words = (
        "stages=[read,exact,write]",
        "mode=plan",
        "plan_format=json",
        "executor=ray_actor_pool",
        "+runtime_env.env_vars.A=hidden",
    )
    result = curator(f"input_path={documents}", "output_path=out", *words)
    plan = json.loads(result.stdout)
    size = (curator.folder / documents).stat().st_size
    assert plan["input"]["bytes"] == size
    assert plan["input"]["splits"] == [{"name": "part-00000", "file": documents, "bytes": size}]
    assert [step["name"] for step in plan["steps"]] == ["read · exact", "exact (shuffle)", "read · write"]
    assert [step["kind"] for step in plan["steps"]] == ["segment", "barrier", "segment"]
    assert plan["steps"][0]["worker"]["cpus"] == 1
    assert plan["steps"][0]["workers"] == 1
    assert plan["variables"] == plan["steps"][2]["variables"] == ["A"]
    assert plan["placement_groups"] == []
    assert "hidden" not in result.stdout + result.stderr


def test_a_plan_of_a_run_that_could_not_start_says_all_reasons_and_exits_with_2(curator, documents):
    (curator.folder / "out").mkdir()
    (curator.folder / "out" / "mine.txt").touch()
    result = curator("input_path=missing.jsonl", "output_path=out", "mode=plan")
    assert_refused(result, "missing.jsonl", "is there already and not empty")


def test_who_set_what_is_explained_and_leaves_nothing_behind(curator):
    words = ("executor=ray_actor_pool", "executor.num_workers=2", "+runtime_env.env_vars.A=hidden", "mode=explain")
    result = curator(*words)
    assert result.returncode == 0, result.stderr
    rows = {line.split()[0]: line.split(None, 2)[1:] for line in result.stdout.splitlines()}
    assert rows["executor.num_workers"] == ["2", "command line"]
    assert rows["executor.address"] == ["null", "executor/ray_actor_pool.yaml"]
    assert rows["executor.runtime_env.env_vars.A"] == ["***", "command line"]
    assert "hidden" not in result.stdout + result.stderr
    assert list(curator.folder.iterdir()) == []


def test_a_changed_variable_is_a_warning_in_the_log_of_the_run(curator, documents):
    words = ("runtime_env=quiet", "+stages.exact.runtime_env.env_vars.TQDM_DISABLE=hidden", "hydra.run.dir=run")
    result = curator(f"input_path={documents}", *words)
    assert result.returncode == 0, result.stderr
    message = "TQDM_DISABLE, set by runtime_env/quiet.yaml, is changed by stages.exact."
    assert result.stderr.count(message) == 1
    assert message in (curator.folder / "run" / "curator.jsonl").read_text()
    assert "hidden" not in result.stderr
    refused = curator(f"input_path={documents}", *words, "on_env_override=error")
    assert_refused(refused, message)


def test_a_plan_of_a_sweep_is_printed_for_each_point_and_leaves_nothing_behind(curator, documents):
    result = curator("stages=dedup,copy", "-m", f"input_path={documents}", "mode=plan", "hydra.sweep.dir=swept")
    assert result.returncode == 0, result.stderr
    for point in ("dedup", "copy"):
        assert f"{curator.folder}/swept/stages-{point}_" in result.stdout
    assert [path.name for path in curator.folder.iterdir()] == [documents]


def test_the_points_of_a_sweep_run_one_by_one_and_a_failed_one_does_not_stop_the_others(curator, documents):
    words = ["-m", f"input_path={documents}", "stages.exact.keep=frist,longest", "hydra.sweep.dir=swept"]
    result = curator(*words)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "stages.exact.keep: 'frist'" in result.stderr
    ((failed,), (done,)) = ([*(curator.folder / "swept").glob(f"keep-{keep}_*")] for keep in ("frist", "longest"))
    assert not (failed / "output").exists()
    assert (done / "output").is_dir()
    assert "frist" in (failed / "curator.jsonl").read_text()
    assert "frist" not in (done / "curator.jsonl").read_text()
    assert "#0 :" not in (failed / "curator.jsonl").read_text()


def test_a_folder_of_the_user_adds_options_to_the_command(curator, documents):
    options = curator.folder / "mine" / "stages"
    options.mkdir(parents=True)
    (options / "near.yaml").write_text("near: {_target_: curator.stages.dedup.exact.ExactDeduplication, case: lower}\n")
    result = curator("--config-dir", "mine", "stages=[read,near,write]", f"input_path={documents}", "mode=plan")
    assert result.returncode == 0, result.stderr
    assert "near" in result.stdout


def test_a_config_of_a_stranger_runs_nothing(curator):
    options = curator.folder / "theirs" / "stages"
    options.mkdir(parents=True)
    (options / "trap.yaml").write_text("trap: {_target_: os.system, command: touch canary}\n")
    (options / "deep.yaml").write_text("deep: {a: [{b: {_target_: builtins.open, file: canary, mode: w}}]}\n")
    hydra = curator.folder / "theirs" / "experiment"
    hydra.mkdir()
    trap = "{_target_: pathlib.Path.touch, self: canary}"
    (hydra / "trap.yaml").write_text(f"# @package _global_\nhydra: {{callbacks: {{x: {trap}}}}}\n")
    for words in (["stages=[read,trap]"], ["stages=[read,deep]"], ["experiment=trap"]):
        assert_refused(curator("-cd", "theirs", *words), "lies outside the trusted packages")
    assert [path.name for path in curator.folder.iterdir()] == ["theirs"]


FAILING = """
import sys
from curator import __main__
from curator.config.build import Run
def fail(*arguments, **keywords):
    {what}
import curator.config.planning
Run.run = curator.config.planning.describe_plan = fail
sys.exit(__main__.main())
"""


def run_failing(folder, what, *words, **more):
    command = [sys.executable, "-c", FAILING.format(what=what), "hydra.run.dir=run", *words]
    return subprocess.run(
        command, cwd=folder, env=environment(**more), capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("StageError('it broke')", 1),
        ("TooManyBadRecordsError('it broke')", 3),
        ("StorageError('it broke')", 74),
        ("ConfigError('it broke')", 2),
    ],
)
def test_an_error_of_the_job_is_a_message_and_its_own_exit_code(tmp_path, error, code):
    result = run_failing(tmp_path, f"from curator import errors; raise errors.{error}")
    assert_refused(result, "it broke", code=code)
    assert "Traceback" in (tmp_path / "run" / "curator.jsonl").read_text()


def test_an_error_that_nobody_foresaw_says_where_the_traceback_is(tmp_path):
    result = run_failing(tmp_path, "1 / 0")
    assert_refused(result, "ZeroDivisionError: division by zero", "run/curator.jsonl", code=1)
    assert "Traceback" in (tmp_path / "run" / "curator.jsonl").read_text()


def test_an_error_outside_a_run_can_be_traced_on_request(tmp_path):
    assert_refused(run_failing(tmp_path, "1 / 0", "mode=plan"), "HYDRA_FULL_ERROR=1", code=1)
    assert "Traceback" in run_failing(tmp_path, "1 / 0", "mode=plan", HYDRA_FULL_ERROR="1").stderr


def test_a_run_directory_that_cannot_be_made_is_a_storage_error(curator, documents):
    (curator.folder / "file").touch()
    result = curator(f"input_path={documents}", "hydra.run.dir=file/run", "output_path=out")
    assert_refused(result, "hydra.run.dir: the run directory cannot be made", code=74)


def start_interruptible(folder, what):
    command = [sys.executable, "-c", FAILING.format(what=what), "hydra.run.dir=run"]
    process = subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    return process


def test_ctrl_c_is_one_line_and_exit_code_130(tmp_path):
    process = start_interruptible(tmp_path, "import time; print('ready', flush=True); time.sleep(60)")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "Stopped.\n")


def test_a_second_ctrl_c_ends_a_clean_up_that_hangs(tmp_path):
    what = (
        "import time\n"
        "    try:\n"
        "        print('ready', flush=True)\n"
        "        time.sleep(60)\n"
        "    finally:\n"
        "        print('cleaning', flush=True)\n"
        "        time.sleep(60)"
    )
    process = start_interruptible(tmp_path, what)
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "cleaning\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT
    assert "Traceback" not in err


def test_a_reader_that_has_gone_is_no_traceback(curator):
    command = f"{sys.executable} -m curator --cfg all | head -1"
    result = subprocess.run(
        command, shell=True, cwd=curator.folder, env=environment(), capture_output=True, text=True, check=False
    )
    assert result.stdout == "hydra:\n"
    assert result.stderr == ""


def test_the_config_that_would_run_can_be_printed(curator):
    result = curator("executor=ray_actor_pool", "--cfg", "job", "-p", "executor")
    assert result.returncode == 0, result.stderr
    assert "RayActorPoolExecutor" in result.stdout
    assert list(curator.folder.iterdir()) == []


@pytest.mark.parametrize("word", ["verify", "show", "status"])
def test_subcommands_are_not_taken_for_settings(curator, word):
    result = curator(word, "no/such/output")
    assert result.returncode not in (0, None)
    assert "Traceback" not in result.stderr
    assert "no/such/output" in result.stderr + result.stdout
    assert "key=value" not in result.stderr

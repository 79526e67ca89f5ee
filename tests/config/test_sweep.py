"""Sweeps as they are typed: names, what is run again, failures, the comparison, and the number that a sweeper gets."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from curator.__main__ import main

ROOT = Path(__file__).parents[2]
EXACT = "stages=[read,exact,write]"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder where the command is typed, with an input: of 7 records 5 are kept, by ``case=lower`` 3."""
    monkeypatch.chdir(tmp_path)
    texts = ["one", "One", "two", None, "one", "Two", "three"]
    lines = ["broken" if text is None else json.dumps({"id": str(row), "text": text}) for row, text in enumerate(texts)]
    (tmp_path / "in.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.fixture
def sweep(folder, monkeypatch, capsys):
    """Types a sweep in this process; gives back exit code, stdout and stderr."""

    def sweep(*words, stages=EXACT):
        monkeypatch.setattr(sys, "argv", ["curator", "-m", "input_path=in.jsonl", stages, *words])
        code = main()
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return sweep


def typed(folder, *words, **more):
    """Types a sweep in a process of its own."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{folder}", "PYTHONDONTWRITEBYTECODE": "1"} | more
    command = [sys.executable, "-m", "curator", "-m", "input_path=in.jsonl", *words]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200, check=False
    )


def points_of(folder, sweep="multirun"):
    return json.loads((folder / sweep / "comparison.json").read_text())["points"]


def said_of(err):
    """What was said of each point, in their order."""
    return re.findall(r"point \d+, \S+, (.*)", err)


def test_points_are_named_by_content_and_compared_at_the_end(sweep, folder):
    code, out, err = sweep("stages.exact.case=keep,lower", "stages.exact.keep=first,longest")
    assert code == 0, err
    points = points_of(folder)
    for point, settings in zip(
        points, ["keep_keep-first", "keep_keep-longest", "lower_keep-first", "lower_keep-longest"], strict=True
    ):
        assert re.fullmatch(rf"case-{settings}_[0-9a-f]{{12}}", point["name"])
        assert (folder / "multirun" / point["name"] / "output" / "part-00000.jsonl").exists()
        assert (folder / "multirun" / point["name"] / "curator.jsonl").exists()
        assert (folder / "multirun" / point["name"] / ".hydra" / "overrides.yaml").exists()
    assert [point["counts"]["kept"] for point in points] == [5, 5, 3, 3]
    table = out[out.index("as 1") :]
    assert "exact_duplicate 3" in table
    assert "0.600" in table
    assert "multirun/comparison.csv" in table
    rows = list(csv.DictReader((folder / "multirun" / "comparison.csv").read_text().splitlines()))
    assert [(row["stages.exact.case"], row["kept"], row["removed.exact_duplicate"]) for row in rows] == [
        *(("keep", "5", "1"), ("keep", "5", "1"), ("lower", "3", "3"), ("lower", "3", "3"))
    ]


def test_a_sweep_typed_again_does_what_is_missing_and_no_more(sweep, folder):
    assert sweep("stages.exact.case=keep,lower")[0] == 0
    first = points_of(folder)
    code, out, err = sweep("stages.exact.case=keep,lower")
    assert (code, said_of(err)) == (0, ["was done before"] * 2)
    assert "records read" not in out, "something was run"
    assert points_of(folder) == first
    shutil.rmtree(Path(first[0]["directory"]) / "output")
    code, out, err = sweep("stages.exact.case=keep,lower,fold", "executor=local")
    assert (code, said_of(err)) == (0, ["is to be run", "was done before", "is to be run"])
    assert points_of(folder)[1]["name"] == first[1]["name"]
    assert sweep("stages.exact.case=keep", "output_mode=replace")[1].count("records read") == 1


def test_another_input_is_another_point(sweep, folder):
    assert sweep()[0] == 0
    before = points_of(folder)[0]["name"]
    with open(folder / "in.jsonl", "a") as file:
        file.write('{"id": "7", "text": "four"}\n')
    code, _, err = sweep()
    assert (code, said_of(err)) == (0, ["is to be run"])
    assert points_of(folder)[0]["name"] != before


def test_a_point_that_fails_is_named_and_stops_no_other_and_is_tried_again(sweep, folder):
    words = ("stages.read.max_quarantined=0,0.5", "stages.exact.keep=first,frist")
    for what in ("is to be run", "was done before"):
        code, out, err = sweep(*words)
        assert code == 3
        assert "3 of 4 points failed:" in err
        points = {tuple(point["settings"].values())[2:]: point for point in points_of(folder)}
        assert points["0", "first"]["exit_code"] == 3
        assert points["0", "frist"]["exit_code"] == points["0.5", "frist"]["exit_code"] == 2
        assert points["0.5", "first"]["counts"]["kept"] == 5
        assert said_of(err) == ["is to be run", what]
        for point in points.values():
            if point["exit_code"]:
                assert f"{point['name']} failed with exit code {point['exit_code']}: {point['reason']}" in err
                assert f"Its log: {point['log']}" in err
                assert Path(point["log"]).read_text()
        assert out.count("failed, ") == 3
        assert "Traceback" not in err


def test_what_is_there_twice_is_run_once(sweep, folder):
    code, out, err = sweep("stages.exact.keep=first,first")
    assert (code, said_of(err)) == (0, ["is to be run", "is the same as one before it"])
    assert out.count("records read") == 1
    assert len(points_of(folder)) == 1


def test_points_that_would_write_over_one_another_are_refused_before_anything_runs(sweep, folder):
    code, _, err = sweep("stages.exact.keep=first,longest", "output_path=out")
    assert code == 2
    assert re.search("output_path: '.*/out' is where both keep-first_.* and keep-longest_.* would write.", err)
    assert not (folder / "out").exists()


def test_points_of_an_embedded_input_are_found_again(sweep):
    for expected in ("is to be run", "was done before"):
        code, _, err = sweep("input_path=embedded", stages="stages=copy")
        assert (code, said_of(err)) == (0, [expected])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["hydra.sweep.subdir=x"], "hydra.sweep.subdir: points are named by their content"),
        (["objective=kept_shares"], "objective: 'kept_shares' is not known. Did you mean 'kept_share'?"),
        (["+stages.exact.api_key=hello-you"], "stages.exact.api_key: a sweep writes down what it is given"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused(sweep, words, message):
    code, _, err = sweep("stages.exact.keep=first,longest", *words)
    assert code == 2
    assert message in err
    assert "hello-you" not in err


def test_a_plan_shows_the_names_that_the_run_will_have_and_leaves_nothing(sweep, folder):
    code, planned, _ = sweep("stages.exact.keep=first,longest", "mode=plan")
    assert code == 0
    assert [path.name for path in folder.iterdir()] == ["in.jsonl"]
    sweep("stages.exact.keep=first,longest")
    for point in points_of(folder):
        assert point["output_path"] in planned


def test_a_plan_of_a_point_that_could_not_run_does_not_hide_the_others(sweep, folder):
    code, out, err = sweep("stages.exact.keep=frist,longest", "mode=plan")
    assert code == 2
    assert out.count("read · exact") == 1
    assert "1 of 2 points failed:" in err
    assert "'frist' is not known" in err
    assert [path.name for path in folder.iterdir()] == ["in.jsonl"]


def test_work_that_points_have_in_common_is_done_once_and_removed_at_the_end(sweep, folder):
    fuzzy = "stages=[read,fuzzy,write]"
    words = ("stages.fuzzy.bands=15", "stages.fuzzy.rows=8", "stages.fuzzy.threshold=0.7,0.9")
    done = "read · fuzzy: was done by an earlier run of this sweep"
    code, out, err = sweep(*words, stages=fuzzy)
    assert (code, err.count(done)) == (0, 1)
    assert "*: with the time of work that another point had done" in out
    assert [point["shared_seconds"] > 0 for point in points_of(folder)] == [False, True]
    assert not (folder / "multirun" / ".shared").exists()
    code, out, err = sweep(*words, "shared_work=off", "hydra.sweep.dir=off", stages=fuzzy)
    assert (code, err.count(done)) == (0, 0)
    assert [point["name"] for point in points_of(folder, "off")] == [point["name"] for point in points_of(folder)]
    for point in points_of(folder):
        shared, alone = (folder / where / point["name"] / "output" for where in ("multirun", "off"))
        for name in ("part-00000.jsonl", "_curator/manifest.json"):
            assert (shared / name).read_bytes() == (alone / name).read_bytes()
    assert sweep(*words, "shared_work=keep", "hydra.sweep.dir=keep", stages=fuzzy)[0] == 0
    assert len(list((folder / "keep" / ".shared").iterdir())) == 1
    code, _, err = sweep(*words[:2], "stages.fuzzy.threshold=0.5,2", "hydra.sweep.dir=keep", stages=fuzzy)
    assert (code, err.count(done)) == (2, 1)
    assert (folder / "keep" / ".shared").exists(), "a sweep that failed is typed again, and wants what it has"


STAGES = """
import os, signal
from curator.stages.base import ProcessingStage

class Deadly(ProcessingStage):
    name = "deadly"

    def __init__(self, how):
        self.how = how

    def process(self, task):
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        return task
"""


def test_a_point_whose_process_dies_is_named_with_what_it_printed_and_stops_no_other(folder):
    (folder / "deadly_stage.py").write_text(STAGES)
    options = folder / "mine" / "stages"
    options.mkdir(parents=True)
    (options / "deadly.yaml").write_text("# Dies.\ndeadly: {_target_: deadly_stage.Deadly, how: x}\n")
    result = typed(
        folder,
        *("--trust", "deadly_stage", "-cd", "mine", "hydra/launcher=submitit_local", "hydra.launcher.timeout_min=2"),
        *("stages=[read,deadly,write]", "stages.deadly.how=kill,pass"),
    )
    assert result.returncode == 1, result.stderr
    killed, passed = points_of(folder)
    assert killed["exit_code"] == 1
    assert killed["reason"].startswith("it ended without a word.")
    assert killed["log"].endswith("_log.err")
    assert Path(killed["log"]).exists()
    assert killed["log"] in result.stderr
    assert passed["counts"]["kept"] == 6
    assert "Traceback" not in result.stderr


def test_a_launcher_that_cannot_launch_is_the_reason_of_every_point(folder):
    result = typed(folder, "hydra/launcher=slurm", EXACT, "stages.exact.keep=first,longest", PATH="/nowhere")
    assert result.returncode == 1, result.stderr
    assert "2 of 2 points failed:" in result.stderr
    assert result.stderr.count("it ended without a word. ") == 2
    assert "Traceback" not in result.stderr


SEARCH = """
from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper

class Search(Sweeper):
    def __init__(self):
        self.values = []

    def setup(self, *, hydra_context, task_function, config):
        from hydra.core.plugins import Plugins
        self.directory = config.hydra.sweep.dir
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments):
        best = None
        for number, case in enumerate(["keep", "broken", "lower"]):
            (result,) = self.launcher.launch([(*arguments, f"stages.exact.case={case}")], number)
            try:
                value = float(result.return_value)
            except Exception as error:
                print("SEARCH", case, type(error).__name__)
                continue
            print("SEARCH", case, value)
            best = max(best or (value, case), (value, case))
        print("SEARCH best", *best)

ConfigStore.instance().store(
    group="hydra/sweeper", name="search", node={"_target_": "hydra_plugins.search.Search"}, provider="test"
)
"""


def test_a_sweeper_that_searches_gets_the_objective_and_of_a_failed_point_no_value(folder):
    (folder / "hydra_plugins").mkdir()
    (folder / "hydra_plugins" / "search.py").write_text(SEARCH)
    words = ("hydra/sweeper=search", EXACT)
    refused = typed(folder, *words)
    assert refused.returncode == 2
    assert "objective: Search searches for the best of a number. Say which: " in refused.stderr
    planned = typed(folder, *words, "mode=plan", "objective=kept")
    assert planned.returncode == 2
    assert "mode=plan: what Search tries depends on what it finds." in planned.stderr
    result = typed(folder, *words, "objective=removed_share")
    assert [line for line in result.stdout.splitlines() if line.startswith("SEARCH")] == [
        f"SEARCH keep {1 / 7}",
        "SEARCH broken PointError",
        f"SEARCH lower {3 / 7}",
        f"SEARCH best {3 / 7} lower",
    ]
    assert result.returncode == 2, "a search with a point that failed is no success"
    assert "1 of 3 points failed:" in result.stderr
    assert [point["objective"] for point in points_of(folder)] == [1 / 7, None, 3 / 7]


@pytest.mark.ray
@pytest.mark.slow
def test_a_sweep_over_options_runs_each_executor_and_their_outputs_are_the_same_bytes(folder):
    words = ("executor=local,ray_actor_pool", "stages=[read,exact,write]")
    result = typed(folder, *words, RAY_USAGE_STATS_ENABLED="0", RAY_USAGE_STATS_REPORT_URL="http://127.0.0.1:9/")
    assert result.returncode == 0, result.stderr
    local, ray = points_of(folder)
    assert [point["settings"]["executor"] for point in (local, ray)] == ["local", "ray_actor_pool"]
    assert local["counts"]["kept"] == ray["counts"]["kept"] == 5
    one, other = (Path(point["output_path"]) / "part-00000.jsonl" for point in (local, ray))
    assert one.read_bytes() == other.read_bytes()


def test_optuna_finds_the_best_setting(folder):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="needs pip install 'curator[search]'")
    result = typed(
        folder,
        *("hydra/sweeper=optuna", EXACT, "objective=removed_share", "hydra.sweeper.direction=maximize"),
        *("hydra.sweeper.n_trials=6", "hydra.sweeper.n_jobs=1", "hydra.sweeper.sampler.seed=1"),
        *("hydra.sweeper.max_failure_rate=1.0", "stages.exact.case=choice(keep,lower,broken)"),
    )
    assert result.returncode == 2, result.stderr
    best = (folder / "multirun" / "optimization_results.yaml").read_text()
    assert "stages.exact.case: lower" in best
    assert f"best_value: {3 / 7}" in best

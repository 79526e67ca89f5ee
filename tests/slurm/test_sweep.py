"""``hydra/launcher=slurm``: a sweep is an array of jobs, each point with a run directory of its own."""

import json

from tests.slurm.conftest import curator, data_files

QUICK = ("-m", "hydra/launcher=slurm", "hydra.launcher.timeout_min=5", "input_path=in", "hydra.sweep.dir=swept")


def test_a_sweep_of_four_points_is_one_array_and_has_the_bytes_of_one_process(slurm, folder, local_output):
    curator(slurm, folder, *QUICK, "stages=dedup", "executor=local,ray_actor_pool", "stages.read.max_depth=9,8")
    swept = folder / "swept"
    for point in range(4):
        assert data_files(swept / str(point) / "output") == local_output
        assert (swept / str(point) / "curator.jsonl").read_text().count("published") == 1
        assert (swept / str(point) / ".hydra" / "overrides.yaml").exists()
    jobs = sorted(path.name for path in (swept / ".submitit").iterdir())
    array = jobs[0].partition("_")[0]
    assert jobs == [array, *(f"{array}_{point}" for point in range(4))]


def test_a_point_is_never_taken_for_a_shard_of_the_input(slurm, folder, local_output):
    curator(slurm, folder, *QUICK, "stages.read.max_depth=9,8")
    for point in range(2):
        manifest = json.loads((folder / "swept" / str(point) / "output" / "_curator" / "manifest.json").read_text())
        assert len(manifest["input"]) == 2


def test_a_point_that_fails_gives_its_exit_code_and_does_not_stop_the_others(slurm, folder, local_output):
    result = curator(slurm, folder, *QUICK, "stages.exact.keep=frist,first", check=False)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "stages.exact.keep: 'frist'" in (folder / "swept" / "0" / "curator.jsonl").read_text()
    assert data_files(folder / "swept" / "1" / "output") == local_output

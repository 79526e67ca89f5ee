"""``hydra/launcher=slurm``: a sweep is an array of jobs, each point with a run directory of its own."""

import json

from tests.slurm.conftest import curator, data_files

QUICK = ("-m", "hydra/launcher=slurm", "hydra.launcher.timeout_min=5", "input_path=in", "hydra.sweep.dir=swept")


def test_a_sweep_of_four_points_is_one_array_and_has_the_bytes_of_one_process(slurm, folder, local_output):
    curator(slurm, folder, *QUICK, "stages=dedup", "executor=local,ray_actor_pool", "stages.read.max_depth=9,8")
    swept = folder / "swept"
    for point in range(4):
        assert data_files(swept / str(point) / "output") == local_output
        manifest = json.loads((swept / str(point) / "output" / "_curator" / "manifest.json").read_text())
        assert len(manifest["input"]) == 2, "a point was taken for a shard of the input"
        assert "published" in (swept / str(point) / "curator.jsonl").read_text()
        assert (swept / str(point) / ".hydra" / "overrides.yaml").exists()
    jobs = sorted(path.name for path in (swept / ".submitit").glob("*_*") if path.is_dir())
    array = jobs[0].partition("_")[0]
    assert jobs == [f"{array}_{point}" for point in range(4)]


def test_a_point_that_fails_gives_its_exit_code_and_does_not_stop_the_others(slurm, folder, local_output):
    result = curator(slurm, folder, *QUICK, "stages.exact.keep=frist,first", check=False)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "stages.exact.keep: 'frist'" in (folder / "swept" / "0" / "curator.jsonl").read_text()
    assert data_files(folder / "swept" / "1" / "output") == local_output

"""Where compiled code is kept, and that nothing crashes where it cannot be kept."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba import types

from curator.kernels import (
    buckets,
    compared_sets,
    cover,
    groups,
    jaccard,
    json_records,
    json_strings,
    json_structure,
    lines,
    normalise,
    overlap,
    shingle_sets,
    shingles,
    sketch,
    unicode_tables,
    union_find,
    utf8,
    xxh3,
)
from curator.kernels import compile as compilation
from curator.kernels.groups import first_of_equal
from curator.kernels.json_records import gather_strings, scan_records
from curator.kernels.lines import find_lines
from curator.kernels.normalise import is_ascii, lower_and_collapse_ascii
from curator.kernels.xxh3 import hash_texts

SKETCHING = (
    buckets,
    compared_sets,
    cover,
    jaccard,
    overlap,
    shingle_sets,
    shingles,
    sketch,
    unicode_tables,
    union_find,
)
MODULES = (groups, json_records, json_strings, json_structure, lines, normalise, utf8, xxh3)

SCRIPT = """
import sys
import curator.kernels
assert "numba" not in sys.modules
from curator.kernels.compile import cache_folder, kernel
@kernel
def triple(value):
    return 3 * value
assert triple(5) == 15
import numba
misses = sum(triple.stats.cache_misses.values())
print(cache_folder(), misses, numba.config.CACHE_DIR or "unchanged")
"""


def run(tmp_path, **environment):
    inherited = {
        k: v for k, v in os.environ.items() if k not in ("HOME", "XDG_CACHE_HOME") and not k.startswith("NUMBA")
    }
    inherited["PYTHONPATH"] = str(Path(compilation.__file__).parents[2])
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-W", "error", str(script)]
    done = subprocess.run(
        command, env=inherited | environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("cache", ["", "relative/folder", "/proc/nowhere"])
def test_kernels_work_where_no_folder_can_be_written(tmp_path, cache):
    home = tmp_path / "a file"
    home.write_text("not a folder")
    folder, *_ = run(tmp_path, HOME=str(home), XDG_CACHE_HOME=cache)
    assert folder == "None"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a file", "script.py"]


def test_kernels_work_with_a_home_below_proc(tmp_path):
    assert run(tmp_path, HOME="/proc/1/nowhere")[0] == "None"


def test_the_folder_is_private_and_used(tmp_path):
    folder, misses, global_setting = run(tmp_path, HOME="/proc/1/nowhere", XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert Path(folder).parent == tmp_path / "cache" / "curator" / "numba"
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    assert misses == "1"
    assert global_setting == "unchanged"
    assert list(Path(folder).rglob("*.nbi"))


def test_a_second_process_finds_the_compiled_code(tmp_path):
    settings = {"HOME": str(tmp_path)}
    assert run(tmp_path, **settings)[1] == "1"
    assert run(tmp_path, **settings)[1] == "0"


@pytest.mark.parametrize("pattern", ["*.nbi", "*.nbc"])
def test_damaged_files_in_the_cache_are_replaced(tmp_path, pattern):
    folder = Path(run(tmp_path, HOME=str(tmp_path))[0])
    for file in folder.rglob(pattern):
        file.write_bytes(file.read_bytes()[:20])
    assert run(tmp_path, HOME=str(tmp_path))[1] == "1"
    assert run(tmp_path, HOME=str(tmp_path))[1] == "0"


def test_each_kind_of_processor_has_a_folder_of_its_own(tmp_path):
    native = run(tmp_path, HOME=str(tmp_path))[0]
    generic = run(tmp_path, HOME=str(tmp_path), NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="")[0]
    assert native != generic


def test_no_array_makes_a_kernel_compile_twice():
    text = np.frombuffer(b'{"text": "a b"}\n' + bytes(64), np.uint8)
    for buffer in (text, text.copy(), np.repeat(text, 2)[::2]):
        for kind in (np.int64, np.int32, np.uint64):
            starts, ends, _ = find_lines(buffer, np.int32(0), np.int64(16))
            records = scan_records(buffer, starts.astype(kind), ends.astype(kind), (b"text",), max_depth=9)
            offsets, data = gather_strings(buffer, records.begins[0], records.ends[0], records.escaped[0].astype(bool))
            high, low = hash_texts(data, offsets.astype(kind))
            first_of_equal(high, low, [0], [0])
            lower_and_collapse_ascii(data, offsets, np.flatnonzero(is_ascii(data, offsets)).astype(kind), True, False)
            signatures, _ = sketch.sketch_texts(data, offsets.astype(kind), np.int32(8))
            keys = sketch.band_keys(signatures, np.int32(2), 4, np.zeros(1, kind))
            hashes, begins = shingle_sets.shingle_sets(buffer, offsets.astype(kind))
            sketch.sketch_sets(hashes, begins.astype(kind), 8, scheme="classic")
            buckets.connect_buckets(keys[0].tolist(), np.zeros(1, kind))
            buckets.group_words(keys[0].tolist(), np.zeros(1, kind), 1)
            union_find.components(keys[0], np.zeros(1, kind))
            jaccard.pair_similarities(hashes.tolist(), begins.astype(kind), np.zeros(1, kind), [0], 1)
            jaccard.text_similarities(buffer, offsets.astype(kind), np.zeros(1, kind), [0], 1)
            cover.cover(np.zeros(1, kind), hashes, begins, keys[:, 0], [0, 2], 1, max_comparisons=np.int32(3))
            cover.cover_texts([0], buffer, offsets.astype(kind), keys[:, 0], [0, 2], 0.5)
    dispatchers = [
        value for module in MODULES + SKETCHING for value in vars(module).values() if hasattr(value, "py_func")
    ]
    assert len(dispatchers) > 20
    # A kernel that another calls with a constant may be typed for that constant too; only arrays matter here.
    compiled = {
        dispatcher.__name__: {tuple(map(types.unliteral, kinds)) for kinds in dispatcher.signatures}
        for dispatcher in dispatchers
    }
    assert {name: kinds for name, kinds in compiled.items() if len(kinds) > 1} == {}


def test_the_cache_folder_that_the_user_names_for_numba_is_respected(tmp_path):
    folder = run(tmp_path, HOME=str(tmp_path), NUMBA_CACHE_DIR=str(tmp_path / "mine"))[0]
    assert Path(folder).parent == tmp_path / "mine"


@pytest.mark.parametrize("level", ["own", "parent"])
def test_a_folder_that_others_can_write_to_is_refused(tmp_path, level):
    folder = Path(run(tmp_path, HOME=str(tmp_path))[0])
    (folder if level == "own" else folder.parent).chmod(0o777)
    assert run(tmp_path, HOME=str(tmp_path))[0] == "None"

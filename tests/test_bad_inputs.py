"""Every entry of the shared corpus of bad inputs is refused with its reason, or read with exact numbers.

The table says what each entry gets. ``good`` of the manifest counts records of string id and string text; ours differ
where the table says why. ``kept + removed`` is what was accepted, and ``reasons`` counts the rest, by reason; a reason
with 0 is an entry about a part of a file, not about a record.
"""

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from curator import ConfigError, ExactDeduplication, InputError, LocalExecutor, Pipeline, Read, Write, verify_output

pytestmark = pytest.mark.corpora

MAX_RSS_MB = 600
BIG = ("big/", "gzip_bomb", "gzip_newline_bomb")


def refused(fragment):
    return ("refused", fragment)


def ran(kept, removed=0, **reasons):
    return ("ran", kept, removed, reasons)


TEN = ran(10)
EXPECTED = {
    "ok.jsonl": TEN,
    # compression: what comes before the fault is kept, the fault is an entry of its own
    "gzip_truncated.jsonl.gz": ran(1325, truncated=1, truncated_stream=0),
    "gzip_bad_crc.jsonl.gz": ran(2000, corrupt_stream=0),
    # no code in it is impossible, so gzip notices only at its checksum; two of these 992 differ from what was written
    "gzip_corrupt_middle.jsonl.gz": ran(
        992, json_parse=2771, missing_text=35, not_an_object=1, truncated=1, corrupt_stream=0
    ),
    "gzip_trailing_garbage.jsonl.gz": ran(10, trailing_garbage=0),
    "gzip_multi_member.jsonl.gz": TEN,
    "gzip_empty.jsonl.gz": ran(0),
    "gzip_zero_bytes.jsonl.gz": ran(0),
    "not_gzip.jsonl.gz": TEN,
    "gzip_without_suffix.jsonl": TEN,
    "double_gzip.jsonl.gz": refused("compressed twice"),
    "ok.jsonl.bz2": refused("is bzip2, which curator does not read"),
    "ok.jsonl.xz": refused("is xz, which curator does not read"),
    "ok.jsonl.zst": TEN,
    "zstd_truncated.jsonl.zst": ran(721, truncated=1, truncated_stream=0),
    "zstd_multi_frame.jsonl.zst": TEN,
    "zstd_no_content_size.jsonl.zst": TEN,
    "zstd_window_too_big.jsonl.zst": TEN,  # the frame is one segment: its window is never allocated
    # encoding
    "utf8_invalid_bytes.jsonl": ran(10, bad_unicode=1),
    "utf8_overlong.jsonl": ran(10, bad_unicode=1),
    "utf8_cesu_surrogate.jsonl": ran(3, bad_unicode=1),
    "latin1.jsonl": ran(0, bad_unicode=5),
    "utf16_bom.jsonl": refused("is UTF-16"),
    "utf8_bom.jsonl": TEN,
    "crlf.jsonl": TEN,
    "cr_only.jsonl": refused("end in CR alone"),
    "no_final_newline.jsonl": TEN,
    "lone_surrogate_escape.jsonl": ran(10, bad_unicode=3),  # good=13 counts what has no UTF-8
    "nul_chars.jsonl": ran(11, json_parse=1),
    "unicode_line_separators.jsonl": ran(11),
    "noncharacters.jsonl": ran(11),
    "nfc_nfd_twins.jsonl": ran(2),
    "case_folding.jsonl": ran(2),
    # JSON lines
    "invalid_lines.jsonl": ran(10, json_parse=5),
    "last_line_cut.jsonl": ran(10, truncated=1),
    "blank_lines.jsonl": TEN,
    "two_objects_per_line.jsonl": ran(10, json_parse=1),
    "pretty_printed.jsonl": refused("is one JSON array"),
    "json_array.json": refused("is one JSON array"),
    "concatenated_no_newline.jsonl": ran(0, json_parse=1),  # one line that is not one value
    "missing_text.jsonl": ran(10, missing_text=3),
    "missing_id.jsonl": TEN,  # good=0 wants string ids; ours need none
    "null_text.jsonl": ran(11, null_text=1),  # likewise: a null id
    "wrong_types.jsonl": ran(12, text_not_string=5),  # likewise: a number and a list as id
    "non_object_lines.jsonl": ran(10, not_an_object=5),
    "nan_infinity.jsonl": ran(12, non_finite=2),  # strict grammar: NaN is none, 1e999 and 5000 digits are
    "duplicate_keys.jsonl": ran(11),  # the last one counts
    "schema_drift.jsonl": ran(5),
    "late_new_field.jsonl": ran(3001),
    "duplicate_ids.jsonl": ran(11, 2),
    "empty_texts.jsonl": ran(17),
    "deep_nesting.jsonl": ran(10, too_deep=1),
    "many_keys.jsonl": ran(11),
    "reserved_field_names.jsonl": ran(11),
    "html_in_jsonl.jsonl": ran(11),
    # texts
    "all_identical.jsonl": ran(1, 4999),
    "template_chain.jsonl": ran(400),
    "no_spaces.jsonl": ran(20),
    "single_repeated_char.jsonl": ran(20),
    "regex_killers.jsonl": ran(6),
    # names and links; named explicitly, a file is read by its content
    "UPPER.JSONL": TEN,
    "Mixed.JsonL": TEN,
    "UPPER.JSONL.GZ": TEN,
    "name with spaces.jsonl": TEN,
    "ünïcode-名前-😀.jsonl": TEN,
    "weird[glob]*?.jsonl": TEN,
    "percent%20and#hash.jsonl": TEN,
    "-dash-first.jsonl": TEN,
    "newline\nname.jsonl": TEN,
    ".hidden.jsonl": TEN,
    "_SUCCESS": ran(0),
    "part-00000.jsonl.tmp": ran(0, truncated=1),
    "no_extension": TEN,
    "empty.jsonl": ran(0),
    "only_newline.jsonl": ran(0),
    "dir.jsonl/inner.jsonl": TEN,
    "empty_dir/": refused("nothing to read at"),
    "dangling_link.jsonl": refused("is a dangling link"),
    "loop_dir/self": refused("nothing to read at"),
    # Parquet
    "zero_bytes.parquet": refused("is named Parquet, but is empty"),
    "only_magic.parquet": refused("is damaged Parquet"),
    "text_named.parquet": refused("is named Parquet, but its content is not"),
    "ok.parquet": TEN,
    "truncated.parquet": refused("is damaged Parquet"),
    "corrupt_page.parquet": ran(0, unreadable_rows=10),
    "wrong_schema.parquet": refused("has no column 'text'. Its columns: doc (string), content (string)"),
    "text_is_int.parquet": refused("column 'text' is int64, not text"),
    "text_is_binary.parquet": ran(9, bad_unicode=1),
    "text_large_string.parquet": TEN,
    "text_dictionary.parquet": TEN,
    "text_list.parquet": refused("is list<element: string>, not text"),
    "nulls.parquet": ran(6, null_text=4),
    "zero_rows.parquet": ran(0),
    "zero_columns.parquet": refused("has no column 'text'. Its columns: none"),
    "nested_struct.parquet": TEN,
    "many_row_groups.parquet": TEN,
    "duplicate_columns.parquet": refused("has 2 columns named 'text'"),
    "mixed_schema/part-0.parquet": TEN,
    "mixed_schema/part-1.parquet": TEN,
    "mixed_schema/part-2.parquet": TEN,
    "mixed_formats/a.jsonl": ran(5),
    "mixed_formats/b.jsonl.gz": ran(5),
    "mixed_formats/README.md": refused("is not JSON lines by its name, nor by its content"),
    "mixed_formats/c.txt": refused("is not JSON lines by its name, nor by its content"),
    # bombs; good=1 counts their one record, which is larger than max_record_bytes
    "gzip_bomb_64mb.jsonl.gz": ran(0, too_large=1),
    "gzip_newline_bomb_200mb.jsonl.gz": ran(0),
    "big/single_line_50mb.jsonl": ran(11),
    "big/gzip_bomb_1gb.jsonl.gz": ran(0, too_large=1),
    "big/tiny_docs_300k.jsonl.gz": ran(1000, 299_000),
    "big/deep_nesting_200k.jsonl": ran(10, too_deep=1),
}

RUN_ALONE = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.test_bad_inputs import outcome
result = outcome(sys.argv[2], sys.argv[3])
# VmHWM is this program's own; ru_maxrss would hand down the peak of the process that started it.
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
peak = int(status["VmHWM"].split()[0]) // 1024
print(json.dumps([result, peak]))
"""


def outcome(path, output):
    """What a run over ``path`` ends in, in the words of the table."""
    from loguru import logger

    logger.remove()
    pipeline = Pipeline([Read(str(path)), ExactDeduplication(), Write(output, durability="fast")])
    try:
        result = pipeline.run(LocalExecutor(), show_progress=False)
    except (InputError, ConfigError) as error:
        return ["refused", str(error), type(error).__name__]
    found = verify_output(output)
    assert found.problems == []
    counts = result.counts
    assert counts["read"] == counts["kept"] + counts["removed"] + counts["quarantined"]
    reasons = Counter()
    for entry in result.quarantine().to_pylist():
        reasons[entry["reason"]] += entry["records"]
        assert Path(entry["file"]) == Path(path)
        assert entry["detail"]
    assert reasons.total() == counts["quarantined"]
    return ["ran", counts["kept"], counts["removed"], dict(reasons)]


@pytest.fixture(scope="session")
def bad_corpus(shared_corpora, tmp_path_factory):
    pytest.importorskip("zstandard", reason="the zstd files of the corpus are made with it")
    folder = tmp_path_factory.mktemp("bad-inputs")
    script = shared_corpora / "bad" / "make_bad_inputs.py"
    subprocess.run([sys.executable, str(script), str(folder), "--big"], check=True, capture_output=True, timeout=120)
    return folder


def run_alone(path, output):
    """In a process of its own, so that its peak of memory is its own too."""
    root = Path(__file__).resolve().parent.parent
    command = [sys.executable, "-W", "error", "-c", RUN_ALONE, str(root), str(path), str(output)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    result, peak_mb = json.loads(done.stdout.splitlines()[-1])
    assert peak_mb < MAX_RSS_MB
    return result, peak_mb


@pytest.mark.parametrize("name", EXPECTED, ids=[ascii(name)[1:-1] for name in EXPECTED])
def test_every_bad_input_is_refused_or_read_with_exact_numbers(name, bad_corpus, tmp_path, record_property):
    path = bad_corpus / name
    if name.startswith(BIG):
        got, peak_mb = run_alone(path, tmp_path / "out")
        record_property("peak_mb", peak_mb)
    else:
        got = outcome(path, tmp_path / "out")
    record_property("got", str(got))
    expected = EXPECTED[name]
    if expected[0] == "ran":
        assert got == list(expected)
        assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out"]
    else:
        assert got[::2] == ["refused", "InputError"]
        assert repr(str(path)) in got[1]
        assert expected[1] in got[1]
        assert not any(tmp_path.iterdir())


def test_every_entry_of_the_manifest_has_an_expectation(bad_corpus):
    manifest = json.loads((bad_corpus / "manifest.json").read_text(encoding="utf-8"))
    assert [entry["file"] for entry in manifest] == list(dict.fromkeys(entry["file"] for entry in manifest))
    assert {entry["file"] for entry in manifest} == set(EXPECTED)


def test_the_numbers_are_those_of_the_manifest_but_for_named_exceptions(bad_corpus):
    """An exception is more than ``good`` (ids of any type), or a record that a reason above says is none of ours."""
    manifest = json.loads((bad_corpus / "manifest.json").read_text(encoding="utf-8"))
    differing = {}
    for entry in manifest:
        expected = EXPECTED[entry["file"]]
        if entry["good"] is not None and expected[0] == "ran" and sum(expected[1:3]) != entry["good"]:
            differing[entry["file"]] = sum(expected[1:3]) - entry["good"]
        if entry["good"] and expected[0] == "refused":
            differing[entry["file"]] = "refused"
    assert differing == {
        "lone_surrogate_escape.jsonl": -3,
        "nan_infinity.jsonl": -1,
        "missing_id.jsonl": 10,
        "null_text.jsonl": 1,
        "wrong_types.jsonl": 2,
        "gzip_bomb_64mb.jsonl.gz": -1,
        "big/gzip_bomb_1gb.jsonl.gz": -1,
        "ok.jsonl.bz2": "refused",
        "ok.jsonl.xz": "refused",
        "json_array.json": "refused",
    }


def copy_of_the_readable(bad_corpus, folder):
    """All inputs that run and are found in a directory, by their own rules, with what they add up to."""
    total, texts = Counter(), 0
    for name, expected in EXPECTED.items():
        path = Path(name)
        if expected[0] == "refused" or name.startswith(("big/", "gzip_bomb", "gzip_newline")):
            continue
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bad_corpus / name, target)
        if path.name.startswith((".", "_")) or (path.suffix in (".tmp", "") and not path.name.endswith("jsonl")):
            continue
        texts += expected[1] + expected[2]
        total.update(expected[3])
    return texts, total


@pytest.mark.parametrize("split_bytes", [None, 20_000])
def test_a_directory_of_all_readable_inputs_is_one_corpus(bad_corpus, tmp_path, split_bytes):
    texts, reasons = copy_of_the_readable(bad_corpus, tmp_path / "in")
    source = Read(str(tmp_path / "in"), split_bytes=split_bytes)
    ignored = [Path(name).name for name in source.plan_splits().ignored]
    assert sorted(ignored) == [".hidden.jsonl", "_SUCCESS", "no_extension", "part-00000.jsonl.tmp"]
    result = Pipeline([source, ExactDeduplication(), Write(tmp_path / "out", durability="fast")]).run(
        LocalExecutor(), show_progress=False
    )
    found = Counter()
    for entry in result.quarantine().to_pylist():
        found[entry["reason"]] += entry["records"]
    assert found == reasons
    assert result.counts["kept"] + result.counts["removed"] == texts
    assert result.counts["quarantined"] == reasons.total()
    ledger = result.ledger()
    assert ledger.num_rows == result.counts["removed"]
    assert verify_output(tmp_path / "out").problems == []
    assert result.counts["kept"] == count_texts(tmp_path / "in", source)


def count_texts(folder, source):
    """Different texts of a directory, and each of its empty ones, by the judge alone."""
    from curator.tasks import SplitTask

    texts = Counter()
    reader = source.for_segment(("text",), whole_rows=False)
    for split in source.plan_splits().splits:
        for batch in reader.process(SplitTask(split=split)):
            texts.update(batch.columns["text"].to_pylist())
    return len(texts) + max(texts[""] - 1, 0)

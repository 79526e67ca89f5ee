"""A published output verifies, and no longer does after any change to any of its files."""

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curator import ExactDeduplication, LocalExecutor, Pipeline, Read, VerifyError, Write, verify_output
from curator.runs.verify import count_records
from curator.stages.io.byte_stream import version_of
from curator.stages.io.output_file import digest_file
from curator.tasks import InputFile


@pytest.fixture(scope="module")
def published(tmp_path_factory, write_jsonl):
    """An output with removals, a quarantine and three formats."""
    folder = tmp_path_factory.mktemp("verify")
    records = [{"id": str(n), "text": f"text {n % 40} of many"} for n in range(200)]
    for name in ("a.jsonl", "b.jsonl"):
        path = write_jsonl(folder / "in" / name, records)
        path.write_bytes(path.read_bytes() + b'{"text": NaN}\n\n{"text": 1}')
    outputs = {}
    for form in ("jsonl", "jsonl.gz", "jsonl.zst", "parquet"):
        stages = [Read(str(folder / "in")), ExactDeduplication(), Write(folder / form, format=form, durability="fast")]
        Pipeline(stages).run(LocalExecutor(), show_progress=False)
        outputs[form] = folder / form
    return outputs


@pytest.fixture
def output(published, tmp_path):
    return shutil.copytree(published["jsonl"], tmp_path / "out")


def files_of(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("form", ["jsonl", "jsonl.gz", "jsonl.zst", "parquet"])
def test_a_published_output_verifies(form, published):
    found = verify_output(published[form])
    assert (found.problems, found.notes) == ([], [])
    assert found.counts == {"read": 404, "kept": 40, "removed": 360, "quarantined": 4}


@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
@pytest.mark.parametrize("form", ["jsonl", "jsonl.gz", "jsonl.zst", "parquet"])
def test_one_changed_byte_in_any_file_is_found(form, mask, published, tmp_path):
    output = shutil.copytree(published[form], tmp_path / "out")
    files = files_of(output)
    assert len(files) >= 8
    for path in files:
        content = path.read_bytes()
        for place in sorted({0, 4, len(content) // 3, len(content) // 2, len(content) - 6, len(content) - 1}):
            if 0 <= place < len(content):
                path.write_bytes(content[:place] + bytes([content[place] ^ mask]) + content[place + 1 :])
                assert verify_output(output, inputs=False).problems, (path.name, place)
        path.write_bytes(content)
    assert verify_output(output).problems == []


def test_every_byte_of_the_seal_counts(output):
    path = output / "_curator" / "SUCCESS.json"
    content = path.read_bytes()
    for place, byte in enumerate(content):
        for other in (byte ^ 0x2A, byte ^ 0x20):  # a blank becomes a line feed, a capital a small letter
            path.write_bytes(content[:place] + bytes([other]) + content[place + 1 :])
            assert verify_output(output, inputs=False).problems, (place, chr(byte), chr(other))


def test_every_missing_shortened_or_emptied_file_is_found(output):
    for path in files_of(output):
        content = path.read_bytes()
        path.unlink()
        assert verify_output(output).problems, path
        for changed in (content[:-1], content + b"\n", b""):
            if changed != content:
                path.write_bytes(changed)
                assert verify_output(output).problems, (path, len(changed))
        path.write_bytes(content)


@pytest.mark.parametrize("name", ["part-99999.jsonl", "_curator/ledger/extra.parquet", "sub/.hidden", "_curator/x"])
def test_an_extra_file_is_found(name, output):
    (output / name).parent.mkdir(exist_ok=True)
    (output / name).write_bytes(b"")
    assert verify_output(output).problems == [f"{name}: is not in the manifest."]


def test_a_link_in_the_place_of_a_file_or_beside_it_is_found(output, tmp_path):
    (output / "elsewhere").symlink_to(tmp_path, target_is_directory=True)
    assert verify_output(output).problems == ["elsewhere: is not in the manifest."]


def test_a_folder_in_the_place_of_a_file_is_a_problem_and_no_crash(output):
    (output / "part-00000.jsonl").unlink()
    (output / "part-00000.jsonl").mkdir()
    assert any("part-00000.jsonl" in problem for problem in verify_output(output).problems)


def reseal(output, **changed):
    """Do what a forger with our own tools would do: put the new digests where they belong."""
    from curator.runs.publish import seal

    folder = output / "_curator"
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    for split in manifest["splits"]:
        for entry in (split["part"], *split["ledger"], *split["quarantine"]):
            record = digest_file(output / entry["name"])
            entry.update(size_bytes=record.size_bytes, digest=record.digest)
    manifest.update(changed)
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    sealed = {name: digest_file(folder / name).digest for name in ("manifest.json", "report.txt", "run.json")}
    success = {"digest": "xxh3_128", "files": sealed, "seal": seal(sealed)}
    (folder / "SUCCESS.json").write_text(json.dumps(success, indent=1) + "\n", encoding="utf-8")


@pytest.mark.parametrize("kind", ["ledger", "quarantine"])
def test_a_removed_row_is_found_even_with_all_digests_renewed(kind, output):
    path = output / "_curator" / kind / "part-00001-0.parquet"
    path = path if path.exists() else next((output / "_curator" / kind).iterdir())
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)
    assert any("the manifest says" in problem for problem in verify_output(output).problems)
    reseal(output)
    assert any("the manifest says" in problem for problem in verify_output(output).problems)


def test_a_removed_line_is_found_even_with_all_digests_renewed(output):
    path = output / "part-00000.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))
    reseal(output)
    assert any("39 rows, the manifest says 40" in problem for problem in verify_output(output).problems)


@pytest.mark.parametrize("column", ["document_id", "kept_document_id"])
@pytest.mark.parametrize("strange", [202, 999, 2**32 + 202, 7 * 2**32, 2**64 - 1])
def test_a_document_that_was_never_read_is_found_even_with_all_digests_renewed(column, strange, output):
    path = next((output / "_curator" / "ledger").iterdir())
    table = pq.read_table(path)
    place = table.column_names.index(column)
    ids = pa.array([strange, *table[column].to_pylist()[1:]], pa.uint64())
    pq.write_table(table.set_column(place, column, ids), path)
    reseal(output)
    assert f"ledger: 1 times, {column} is no record that was read." in verify_output(output).problems


def test_an_edited_manifest_is_found_even_with_its_digest_renewed(output):
    reseal(output, totals={"read": 404, "kept": 41, "removed": 359, "quarantined": 4})
    assert any("manifest.json: says" in problem for problem in verify_output(output).problems)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"files": 3}', b'{"files": {}, "seal": ""}']
)
@pytest.mark.parametrize("name", ["SUCCESS.json", "manifest.json", "run.json"])
def test_accounts_that_cannot_be_understood_are_a_problem_and_no_crash(name, content, output):
    (output / "_curator" / name).write_bytes(content)
    assert verify_output(output).problems


def test_a_folder_that_is_no_output_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(VerifyError, match="is no output of curator"):
            verify_output(path)


def test_a_changed_or_missing_input_is_noted_and_not_counted(tmp_path, write_jsonl):
    path = write_jsonl(tmp_path / "in" / "a.jsonl", [{"text": "a"}, {"text": "a"}])
    Pipeline([Read(str(path)), ExactDeduplication(), Write(tmp_path / "out")]).run(LocalExecutor(), show_progress=False)
    write_jsonl(path, [{"text": "a"}])
    found = verify_output(tmp_path / "out")
    assert (found.problems, len(found.notes)) == ([], 1)
    assert "has changed since the run" in found.notes[0]
    path.unlink()
    assert "cannot be read any more" in verify_output(tmp_path / "out").notes[0]


@pytest.mark.parametrize(
    "content", [b"", b"\n", b" \t\r\n\n", b"a", b"a\n", b"\na", b"a\n\n \nb", b" a \r\n\tb\r\n  ", b"\n" * 9 + b"x\n"]
)
@pytest.mark.parametrize("block_bytes", [1, 2, 3, 1 << 20])
def test_records_are_counted_as_the_reader_does(content, block_bytes, tmp_path, monkeypatch):
    monkeypatch.setattr("curator.runs.verify._BLOCK_BYTES", block_bytes)
    (tmp_path / "a").write_bytes(content)
    file = InputFile(str(tmp_path / "a"), *version_of(str(tmp_path / "a")), "jsonl")
    assert count_records(file) == sum(bool(line.strip(b" \t\r")) for line in content.split(b"\n"))

"""What is listed, what is passed over, and what is refused before any work starts, with its name and the reason."""

import bz2
import gzip
import lzma
import os
import socket

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curator import InputError
from curator.stages.io.byte_stream import zstd
from curator.stages.io.inputs import list_inputs
from curator.stages.io.read import Read

LINE = b'{"id": "a", "text": "b"}\n'


def put(folder, name, content=LINE):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def names(folder, *paths):
    return [os.path.relpath(file.path, folder) for file in list_inputs([str(p) for p in paths]).files]


def refusal(*paths):
    with pytest.raises(InputError) as raised:
        list_inputs([str(path) for path in paths])
    assert type(raised.value) is InputError
    return str(raised.value)


def test_a_directory_is_walked_in_order_and_what_is_no_data_is_listed_as_ignored(tmp_path):
    for name in ("b/x.jsonl", "a.jsonl", "a.d/y.ndjson", "Z.JSONL", ".hidden.jsonl", "_SUCCESS", "_tmp/z.jsonl"):
        put(tmp_path, name)
    for name in ("README.md", "part.jsonl.tmp", "c.txt", ".git/q.jsonl", "no_suffix"):
        put(tmp_path, name)
    listing = list_inputs([str(tmp_path)])
    found = [os.path.relpath(file.path, tmp_path) for file in listing.files]
    assert found == ["Z.JSONL", "a.d/y.ndjson", "a.jsonl", "b/x.jsonl"]
    ignored = {os.path.relpath(path, tmp_path) for path in listing.ignored}
    assert ignored == {
        ".git", ".hidden.jsonl", "_SUCCESS", "_tmp", "README.md", "part.jsonl.tmp", "c.txt", "no_suffix",
    }  # fmt: skip


def test_links_to_directories_are_not_followed_and_links_to_files_are(tmp_path):
    put(tmp_path, "in/a.jsonl")
    put(tmp_path, "elsewhere/b.jsonl")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in", target_is_directory=True)
    (tmp_path / "in" / "out").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "in" / "link.jsonl").symlink_to(tmp_path / "elsewhere" / "b.jsonl")
    listing = list_inputs([str(tmp_path / "in")])
    assert [os.path.basename(file.path) for file in listing.files] == ["a.jsonl", "link.jsonl"]
    assert sorted(os.path.basename(path) for path in listing.ignored) == ["loop", "out"]


def test_a_path_that_exists_is_taken_as_it_is_and_any_other_is_a_glob(tmp_path):
    for name in ("w[ab].jsonl", "wa.jsonl", "wb.jsonl", "s*.jsonl", "st.jsonl", "q?.jsonl", "deep/er/wa.jsonl"):
        put(tmp_path, name)
    assert names(tmp_path, tmp_path / "w[ab].jsonl") == ["w[ab].jsonl"]
    assert names(tmp_path, tmp_path / "s*.jsonl") == ["s*.jsonl"]
    (tmp_path / "w[ab].jsonl").unlink()
    assert names(tmp_path, tmp_path / "w[ab].jsonl") == ["wa.jsonl", "wb.jsonl"]
    assert names(tmp_path, tmp_path / "**" / "wa.jsonl") == ["deep/er/wa.jsonl", "wa.jsonl"]
    assert names(tmp_path, tmp_path / "de*") == ["deep/er/wa.jsonl"]


def test_files_come_in_the_order_of_the_paths_and_each_once(tmp_path):
    for name in ("a.jsonl", "b.jsonl", "c.jsonl"):
        put(tmp_path, name)
    (tmp_path / "again.jsonl").symlink_to("a.jsonl")
    assert names(tmp_path, tmp_path / "c.jsonl", tmp_path) == ["c.jsonl", "a.jsonl", "b.jsonl"]


CONTENTS = {
    "a.jsonl.bz2": (bz2.compress(LINE), "is bzip2, which curator does not read"),
    "a.jsonl.xz": (lzma.compress(LINE), "is xz, which curator does not read"),
    "a.zip.jsonl": (b"PK\x03\x04rest", "is a zip archive"),
    "a.tar.gz": (gzip.compress(b"x" * 257 + b"ustar" + bytes(99)), "is a tar archive; unpack it"),
    "twice.jsonl.gz": (gzip.compress(gzip.compress(LINE)), "is compressed twice"),
    "both.jsonl.zst": (zstd.compress(gzip.compress(LINE)), "is compressed twice"),
    "utf16.jsonl": (LINE.decode().encode("utf-16"), "is UTF-16 (it begins with a byte order mark)"),
    "utf16-le.jsonl": (LINE.decode().encode("utf-16-le"), "is UTF-16 or UTF-32"),
    "utf16-be.jsonl": (LINE.decode().encode("utf-16-be"), "is UTF-16 or UTF-32"),
    "utf32-be.jsonl": (LINE.decode().encode("utf-32-be"), "is UTF-16 or UTF-32"),
    "page.jsonl": (b"\n <!DOCTYPE html><html>404", "is HTML or XML"),
    "page.jsonl.gz": (gzip.compress(b"<html>404"), "is HTML or XML"),
    "array.json": (b"[" + LINE.strip() + b"]", "is one JSON array"),
    "pretty.json": (b'\xef\xbb\xbf[\n  {\n  "id": 1', "is one JSON array"),
    "empty-array.json": (b"[ ", "is one JSON array"),
    "old-mac.jsonl": (LINE.strip() + b"\r" + LINE.strip(), "end in CR alone"),
    "text.parquet": (LINE, "is named Parquet, but its content is not"),
    "empty.pq": (b"", "is named Parquet, but is empty"),
    "inside.jsonl.gz": (gzip.compress(b"PAR1...."), "is Parquet inside a compressed file"),
    "notes.md": (b"# notes\n", "is not JSON lines by its name, nor by its content, which begins with b'# notes"),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_content_that_is_no_corpus_is_refused_with_its_name_and_kind(name, tmp_path):
    content, fragment = CONTENTS[name]
    message = refusal(put(tmp_path, name, content))
    assert repr(str(tmp_path / name)) in message
    assert fragment in message


@pytest.mark.parametrize(
    ("name", "content", "suffix"),
    [
        ("plain.jsonl.gz", LINE, "jsonl"),
        ("packed.jsonl", gzip.compress(LINE, mtime=0), "jsonl.gz"),
        ("packed.txt", zstd.compress(LINE), "jsonl.zst"),
        ("no_suffix", LINE, "jsonl"),
        ("bom.log", b"\xef\xbb\xbf\n" + LINE, "jsonl"),
        ("empty.anything", b"", "jsonl"),
        ("blank.txt", b" \n\n", "jsonl"),
        ("strings.jsonl", b'"a string"\n[1, 2]\n', "jsonl"),
    ],
)
def test_a_file_named_explicitly_is_what_its_content_is(name, content, suffix, tmp_path):
    (file,) = list_inputs([str(put(tmp_path, name, content))]).files
    assert file.suffix == suffix


def test_what_is_no_regular_file_is_refused_without_being_opened(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.jsonl")
    assert "is a FIFO, not a regular file" in refusal(tmp_path / "pipe.jsonl")
    assert "is a FIFO" in refusal(tmp_path)
    (tmp_path / "pipe.jsonl").unlink()
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s.jsonl")
        assert "is a socket" in refusal("s.jsonl")
    assert "is a device" in refusal("/dev/null")


@pytest.mark.parametrize("name", ["dangling.jsonl", "self.jsonl"])
def test_dangling_and_circular_links_are_refused_alone_and_in_directories(name, tmp_path):
    (tmp_path / name).symlink_to("missing" if name.startswith("d") else name)
    for path in (tmp_path / name, tmp_path):
        assert f"{str(tmp_path / name)!r} cannot be read: is a dangling link" in refusal(path)


def test_a_name_that_is_not_utf8_is_refused(tmp_path):
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9.jsonl")
    with open(path, "wb") as handle:
        handle.write(LINE)
    assert "has a name that is not UTF-8; rename the file" in refusal(tmp_path)


@pytest.mark.parametrize("path", ["", "missing.jsonl", "missing/**/*.jsonl", "a\0b", "memory://missing/*.jsonl"])
def test_nothing_to_read_names_the_pattern(path):
    assert f"nothing to read at {path!r}" in refusal(path)


def test_an_empty_directory_is_refused(tmp_path):
    assert f"nothing to read at {str(tmp_path)!r}" in refusal(tmp_path)


def test_a_window_that_no_decoder_opens_is_refused(tmp_path):
    frame = b"\x28\xb5\x2f\xfd" + b"\x00" + bytes([(31 - 10) << 3]) + b"\x01\x00\x00"
    assert "cannot be unpacked in bounded memory" in refusal(put(tmp_path, "long.jsonl.zst", frame))


@pytest.mark.parametrize("path", ["nosuchstore://bucket/a.jsonl", "s3://bucket/a.jsonl", "gs://bucket/*.jsonl"])
def test_a_store_that_cannot_be_reached_is_an_input_error(path, monkeypatch):
    def broken(url, **_):
        raise ImportError(f"Install something to read {url}")

    monkeypatch.setattr("curator.stages.io.inputs.fsspec.core.url_to_fs", broken)
    assert f"{path!r} cannot be listed: ImportError: Install something" in refusal(path)


def test_an_unknown_store_is_an_input_error():
    assert "cannot be listed: ValueError: Protocol not known" in refusal("nosuchstore://bucket/a.jsonl")


def test_all_problems_come_in_one_message(tmp_path):
    put(tmp_path, "a.jsonl.xz", lzma.compress(LINE))
    put(tmp_path, "b.parquet", b"")
    message = refusal(tmp_path, tmp_path / "missing")
    assert len(message.splitlines()) == 3


def test_parquet_problems_come_in_one_message_of_the_same_kind(tmp_path):
    put(tmp_path, "a.parquet", b"PAR1PAR1")
    pq.write_table(pa.table({"content": ["a"]}), tmp_path / "b.parquet")
    with pytest.raises(InputError) as raised:
        Read(str(tmp_path)).plan_splits()
    assert len(raised.value.problems) == 2


def test_remote_files_directories_and_globs_are_listed():
    for name in ("a.jsonl", "b/c.jsonl.gz", "b/_SUCCESS", "b/readme.md", "w[x].jsonl"):
        with fsspec.open(f"memory://list-inputs/{name}", "wb") as handle:
            handle.write(gzip.compress(LINE) if name.endswith("gz") else LINE)
    listing = list_inputs(["memory://list-inputs"])
    assert [file.path for file in listing.files] == [
        "memory:///list-inputs/a.jsonl",
        "memory:///list-inputs/b/c.jsonl.gz",
        "memory:///list-inputs/w[x].jsonl",
    ]
    assert [file.suffix for file in listing.files] == ["jsonl", "jsonl.gz", "jsonl"]
    assert listing.ignored == ["memory:///list-inputs/b/_SUCCESS", "memory:///list-inputs/b/readme.md"]
    assert len(list_inputs(["memory://list-inputs/b/*.gz"]).files) == 1
    assert len(list_inputs(["memory://list-inputs/a.jsonl"]).files) == 1

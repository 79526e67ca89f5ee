"""Compressed bytes come out whole, or up to the very fault, in bounded memory and with a reason."""

import gzip
import random
import zlib

import fsspec
import pytest

from curator.errors import InputChangedError
from curator.stages.io import byte_stream
from curator.stages.io.byte_stream import ByteStream, CorruptStreamError, version_of, zstd
from curator.tasks import InputFile

LINES = b"".join(b'{"id": %d, "text": "%x"}\n' % (n, random.Random(n).getrandbits(400)) for n in range(30_000))
GZIP, ZSTD = gzip.compress(LINES, 6, mtime=0), zstd.compress(LINES)


def file_of(path, data, compression):
    path.write_bytes(data)
    return InputFile(str(path), *version_of(str(path)), "jsonl", compression)


def read_all(file, size, begin=0):
    """All bytes by calls of ``size``, and the word for what ended them."""
    found, buffer = [], bytearray(size)
    with ByteStream(file, begin) as stream:
        while True:
            try:
                count = stream.readinto(memoryview(buffer))
            except CorruptStreamError as error:
                return b"".join(found), error.reason if stream.damage is error else "not as announced"
            if not count:
                return b"".join(found), ""
            found.append(bytes(buffer[:count]))


def checked(tmp_path, data, compression):
    """What every size of call agrees on."""
    file = file_of(tmp_path / "a", data, compression)
    results = {read_all(file, size) for size in (1_000, 65_537, 300_000, 1 << 20, 5_000_000)}
    assert len(results) == 1
    return results.pop()


MEMBERS = {
    "one gzip": ("gz", GZIP),
    "two gzips": ("gz", gzip.compress(LINES[:500_000], mtime=0) + gzip.compress(LINES[500_000:], mtime=0)),
    "many gzips": ("gz", b"".join(gzip.compress(LINES[i : i + 9_000], mtime=0) for i in range(0, len(LINES), 9_000))),
    "empty gzips between": ("gz", gzip.compress(b"") + GZIP + gzip.compress(b"") * 3),
    "gzip and padding": ("gz", GZIP + bytes(700_000)),
    "padding between gzips": ("gz", gzip.compress(LINES[:99]) + bytes(600_001) + gzip.compress(LINES[99:])),
    "one zstd": ("zst", ZSTD),
    "two zstds": ("zst", zstd.compress(LINES[:500_000]) + zstd.compress(LINES[500_000:])),
    "zstd and a skippable frame": ("zst", ZSTD + b"\x50\x2a\x4d\x18\x05\0\0\0hello"),
    "a skippable frame and zstd": ("zst", b"\x5f\x2a\x4d\x18\x00\0\0\0" + ZSTD),
}


@pytest.mark.parametrize("name", MEMBERS)
def test_all_members_of_a_sound_file_are_read(name, tmp_path):
    compression, data = MEMBERS[name]
    assert checked(tmp_path, data, compression) == (LINES, "")


@pytest.mark.parametrize(("compression", "data"), [("gz", GZIP), ("zst", ZSTD)])
@pytest.mark.parametrize("cut", [3, 5, 17, 1_000, 300_000, -9, -4, -1])
def test_a_cut_stream_gives_a_prefix_and_says_so(compression, data, cut, tmp_path):
    found, reason = checked(tmp_path, data[:cut], compression)
    assert reason == "truncated_stream"
    assert LINES.startswith(found)
    assert len(found) > len(LINES) * 0.1 or cut < 2_000


@pytest.mark.parametrize(("compression", "data"), [("gz", GZIP), ("zst", ZSTD)])
@pytest.mark.parametrize("garbage", [b"x", b"garbage after the stream\n", bytes(9) + b"late garbage"])
def test_garbage_behind_a_stream_costs_nothing_and_is_reported(compression, data, garbage, tmp_path):
    assert checked(tmp_path, data + garbage, compression) == (LINES, "trailing_garbage")


@pytest.mark.parametrize("where", ["last", "middle"])
def test_a_wrong_gzip_checksum_costs_no_byte_of_its_member(where, tmp_path):
    bad = bytearray(GZIP)
    bad[-6] ^= 1
    data = bytes(bad) if where == "last" else bytes(bad) + GZIP
    found, reason = checked(tmp_path, data, "gz")
    assert reason == "corrupt_stream"
    assert LINES.startswith(found)
    assert len(found) == len(LINES) - (where == "middle")  # a decoder drops the byte before the fault


def test_a_wrong_zstd_checksum_costs_no_byte_of_its_frame(tmp_path):
    data = bytearray(zstd.compress(LINES, options={zstd.CompressionParameter.checksum_flag: 1}))
    data[-2] ^= 1
    found, reason = checked(tmp_path, bytes(data), "zst")
    assert (LINES[: len(found)], reason) == (found, "corrupt_stream")
    assert len(found) >= len(LINES) - 1


def test_everything_before_an_impossible_block_is_delivered(tmp_path):
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    data = packer.compress(LINES) + packer.flush(zlib.Z_FULL_FLUSH) + b"\x07" + GZIP[:1000]
    assert checked(tmp_path, data, "gz") == (LINES[:-1], "corrupt_stream")


def test_everything_before_a_broken_zstd_block_is_delivered(tmp_path):
    packer = zstd.ZstdCompressor()
    data = packer.compress(LINES, packer.FLUSH_BLOCK) + b"\x07\0\0" + ZSTD
    assert checked(tmp_path, data, "zst") == (LINES[:-1], "corrupt_stream")


def test_a_position_in_a_damaged_file_is_found_again(tmp_path):
    bad = bytearray(GZIP)
    bad[-6] ^= 1
    file = file_of(tmp_path / "a", bytes(bad), "gz")
    assert read_all(file, 4_000, begin=len(LINES) - 10_000) == (LINES[-10_000:], "corrupt_stream")


def test_a_bomb_is_unpacked_a_buffer_at_a_time(tmp_path):
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(64)) + packer.flush()
    file = file_of(tmp_path / "bomb", bomb, "gz")
    buffer, total = memoryview(bytearray(10_000)), 0
    with ByteStream(file) as stream:
        while count := stream.readinto(buffer):
            total += count
    assert total == 64 << 20


def test_a_file_that_changed_since_the_plan_is_refused(tmp_path):
    file = file_of(tmp_path / "a", b"one\n", "none")
    (tmp_path / "a").write_bytes(b"one\ntwo\n")
    with pytest.raises(InputChangedError, match="changed while the run was reading it"):
        ByteStream(file)
    (tmp_path / "a").unlink()
    with pytest.raises(InputChangedError, match="cannot be read any more"):
        ByteStream(file)


def test_remote_files_are_read_through_fsspec():
    for name, data in (("a.jsonl", LINES), ("a.jsonl.gz", GZIP), ("a.jsonl.zst", ZSTD)):
        path = f"memory://byte-stream/{name}"
        with fsspec.open(path, "wb") as handle:
            handle.write(data)
        compression = name.rpartition(".")[2].replace("jsonl", "none")
        file = InputFile(path, *version_of(path), "jsonl", compression)
        assert read_all(file, 100_000) == (LINES, "")
        assert read_all(file, 100_000, begin=1_234_567) == (LINES[1_234_567:], "")


def test_a_decoder_is_never_asked_for_more_than_a_bounded_block(tmp_path, monkeypatch):
    asked = []
    original = byte_stream.ByteStream._decompress
    monkeypatch.setattr(byte_stream.ByteStream, "_decompress", lambda s, n: asked.append(n) or original(s, n))
    read_all(file_of(tmp_path / "a", GZIP, "gz"), 50_000_000)
    assert max(asked) <= 1 << 20

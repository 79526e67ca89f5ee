"""Verdicts and values of the scanner, against Python's parser made strict."""

import json
import random
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator.kernels.json_records import gather_strings, scan_records
from tests.kernels.strict_json import CONTAINER, NULL, NUMBER, STRING, is_beyond_doubt, kind, parse

NAMES = ("text", "id", "né", "")


def scan(lines, names=NAMES, max_depth=256):
    data = b"\n".join(lines)
    ends = np.cumsum([len(line) + 1 for line in lines], dtype=np.int64) - 1
    starts = ends - np.array([len(line) for line in lines], np.int64)
    packed = tuple(name.encode() for name in names)
    return np.frombuffer(data, np.uint8), scan_records(np.frombuffer(data, np.uint8), starts, ends, packed, max_depth)


def is_valid(line, **options):
    return scan([line], **options)[1].status[0] == 0


def check(lines, names=NAMES):
    """Compare everything that the scanner says about some lines with the oracle."""
    buffer, records = scan(lines, names)
    for index, line in enumerate(lines):
        expected = is_beyond_doubt(line, names)
        assert (records.status[index] == 0) == expected, line
        values = dict(parse(line)) if expected else {}
        for field, name in enumerate(names):
            if name not in values:
                assert records.kinds[field, index] == 0, (name, line)
                continue
            value, found = values[name], records.kinds[field, index]
            begin, end = records.begins[field, index], records.ends[field, index]
            assert found == kind(value), (name, line)
            raw = buffer[begin:end].tobytes()
            assert records.escaped[field, index] == (found == STRING and b"\\" in raw)
            if found == STRING:
                offsets, data = gather_strings(buffer, [begin], [end], [records.escaped[field, index]])
                assert data[: offsets[1]].tobytes() == value.encode()
            elif found == NUMBER:
                assert raw.decode() == value
            else:
                assert json.loads(raw) == (json.loads(json.dumps(value)) if found != CONTAINER else json.loads(raw))
                assert raw == raw.strip()


VALID = [
    rb"{}",
    rb" { } ",
    b"\t{}\r",
    b'{"text":"a"}\r',
    rb'{"text":"", "id":null}',
    rb'{"text":true,"id":false}',
    rb'{"text":0,"id":-0}',
    rb'{"text":-0.0e-0,"id":1E+99}',
    rb'{"text":1e999,"id":' + b"9" * 5000 + b"}",
    rb'{"text":[],"id":{}}',
    rb'{"text":[{"text":"inner"}, [[1, 2], {}]],"id":{"text":"inner"}}',
    rb'{"other":{"text":1,"text":2},"id":1}',
    rb'{"other":1,"other":2}',
    rb'{"text":"\"\\\/\b\f\n\r\t\u0041\u00e9\u20AC\uD83D\uDE00"}',
    rb'{"text":"\u0000"}',
    rb'{"text":"\\u12"}',
    rb'{"text":"\\\\"}',
    rb'{"o":{"\u0041":1}}',
    rb'{"textt":1,"tex":2,"Text":3," text":4}',
    rb'{"":"empty","n":1}',
    '{"né":"é","x":"\u2028\ufeff\uffff\U0010ffff"}'.encode(),
    '{"text":"\x7f\x80\u07ff\u0800\ud7ff\ue000\U00010000"}'.encode(),
]

UNUSUAL = [
    b"",
    b" ",
    b"{",
    b"}",
    b"[]",
    b'"text"',
    b"1",
    b"null",
    b"{}{}",
    b"{} {}",
    b"{},",
    b"{}\x00",
    b"{}x",
    b"\x00{}",
    b"\xef\xbb\xbf{}",
    b"{]",
    b'{"text"}',
    b'{"text":}',
    b'{"text" "a"}',
    b'{"text":"a",}',
    b'{,"text":"a"}',
    b'{"text":"a" "id":1}',
    b'{"text":"a";"id":1}',
    b'{"text"::1}',
    b"{text:1}",
    b"{'text':1}",
    b"{1:1}",
    b'{"text":[}',
    b'{"text":[1,]}',
    b'{"text":[,1]}',
    b'{"text":[1 2]}',
    b'{"text":[1:2]}',
    b'{"text":{"a"}}',
    b'{"text":[1}]',
    b'{"text":{1]}',
    b'{"text":"open',
    b'{"text":"open\\',
    b'{"text":"open\\"}',
    b'{"text":"a\tb"}',
    b'{"text":"a\x00b"}',
    b'{"text":"a\x1fb"}',
    b'{"text":"a\nb"}',
    b'{"text":"a\\\nb"}',
    b'{"te\nxt":1}',
    b'{"text":"\\x41"}',
    b'{"text":"\\U0041"}',
    b'{"text":"\\u"}',
    b'{"text":"\\u12"}',
    b'{"text":"\\u123"}',
    b'{"text":"\\u12g4"}',
    b'{"text":"\\u-123"}',
    b'{"text":"\\ud800"}',
    b'{"text":"\\udfff"}',
    b'{"text":"\\ud800\\ud800"}',
    b'{"text":"\\udc00\\ud800"}',
    b'{"text":"\\ud83d\\u0041"}',
    b'{"text":"\\ud83dx\\ude00"}',
    b'{"text":"\\ud83d\\n"}',
    b'{"text":"\\ud83d\\ude0"}',
    b'{"other":{"deep":["\\udead"]}}',
    b'{"other":{"\\udead":1}}',
    b'{"\\u0074ext":1}',
    b'{"a\\nb":1}',
    b'{"text":1,"text":2}',
    b'{"text":null,"id":1,"text":null}',
    b'{"text":[],"text":{}}',
    b'{"text":NaN}',
    b'{"text":Infinity}',
    b'{"text":-Infinity}',
    b'{"text":nul}',
    b'{"text":nulll}',
    b'{"text":True}',
    b'{"text":tru',
    b'{"text":truefalse}',
    b'{"text":fals}',
    b'{"text":falsey}',
    b'{"text":01}',
    b'{"text":-}',
    b'{"text":-01}',
    b'{"text":+1}',
    b'{"text":.5}',
    b'{"text":1.}',
    b'{"text":1.e5}',
    b'{"text":1e}',
    b'{"text":1e+}',
    b'{"text":1e5.0}',
    b'{"text":0x10}',
    b'{"text":1_000}',
    b'{"text":--1}',
    b'{"text":\xc2\xa01}',
    b'{"text":/*comment*/1}',
    b'{"text":"\x80"}',
    b'{"text":"\xc3"}',
    b'{"text":"\xc0\xaf"}',
    b'{"text":"\xc1\xbf"}',
    b'{"text":"\xe0\x9f\xbf"}',
    b'{"text":"\xed\xa0\x80"}',
    b'{"text":"\xed\xbf\xbf"}',
    b'{"text":"\xf0\x8f\xbf\xbf"}',
    b'{"text":"\xf4\x90\x80\x80"}',
    b'{"text":"\xf5\x80\x80\x80"}',
    b'{"text":"\xff"}',
    b'{"other":{"\xff":1}}',
    b"\xff\xfe{\x00}\x00",
]


@pytest.mark.parametrize("line", VALID)
def test_strict_records_are_vouched_for(line):
    assert is_valid(line)
    check([line])


@pytest.mark.parametrize("line", UNUSUAL)
def test_doubtful_records_are_left_to_a_real_parser(line):
    assert not is_valid(line)
    check([line])


def test_lines_do_not_influence_their_neighbours():
    lines = [line for pair in zip(UNUSUAL, VALID * 9, strict=False) for line in pair if b"\n" not in line]
    check(lines)


@pytest.mark.parametrize("length", [*range(40, 72), *range(120, 136)])
@pytest.mark.parametrize(
    "tail", [rb"\n", rb"\\", rb"\"", rb"\u00e9", rb"\ud83d\ude00", "é".encode(), "€".encode(), "😀".encode()]
)
def test_nothing_is_lost_where_blocks_meet(length, tail):
    filler = b"x" * length
    good = [b'{"text":"' + filler + tail + b'"}', b'{"text":"' + filler + tail + tail + filler + tail + b'","id":"y"}']
    check(
        [*good, good[0][:-2], b'{"text":"' + filler + tail[:-1] + b'"}', b'{"text":"' + filler + b"\x1f" + tail + b'"}']
    )


@pytest.mark.parametrize("run", range(1, 140))
def test_runs_of_backslashes_are_paired(run):
    check([b'{"text":"' + b"\\" * run + b'"}', b'{"text":"' + b"\\" * run + b'n","id":1}', b'{"text":"x' + b"\\" * run])


TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('\\"\n/\x00\x1f\x7f😀é'), max_size=80)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)
RECORDS = st.dictionaries(st.sampled_from(NAMES) | TEXT, VALUES, max_size=6)


@given(st.lists(st.tuples(RECORDS, st.booleans(), st.sampled_from([None, (",", ":"), (" ,\t", " : ")])), max_size=4))
def test_whatever_python_writes_is_understood(records):
    check([json.dumps(r, ensure_ascii=ascii_only, separators=how).encode() for r, ascii_only, how in records])


@given(st.data())
def test_a_damaged_record_gets_the_verdict_of_a_strict_parser(data):
    record = data.draw(RECORDS)
    line = bytearray(json.dumps(record, ensure_ascii=data.draw(st.booleans())).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(line)))
        removed = data.draw(st.integers(0, 3))
        line[place : place + removed] = data.draw(st.binary(max_size=2) | st.sampled_from(list(map(bytes, FRAGMENTS))))
    check([bytes(line)])


FRAGMENTS = [
    b'"',
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b" ",
    b"\\u",
    b"\\ud83d",
    b"0",
    b"-",
    b"1e5",
    b"null",
    b"\xed\xa0",
]
SEEDS = [
    '{"id": "a1", "text": "one \\n two \\ud83d\\ude00 é € 😀", "n": [1, -2.5e+3, {"k": null}], "ok": true}',
    '{"text":"' + "long " * 30 + '\\"quoted\\"","id":12,"m":{"text":[[],{}]}}',
    '{"né":"ünï","":"\\u00e9\\\\","text":false,"list":["a","b"],"id":null}',
]


def test_thousands_of_damaged_records_get_the_right_verdict():
    generator = random.Random(20260101)
    lines = []
    for _ in range(6000):
        line = bytearray(generator.choice(SEEDS).encode())
        for _ in range(generator.randint(1, 3)):
            place = generator.randrange(len(line) + 1)
            fresh = generator.choice([*FRAGMENTS, bytes([generator.randrange(256)])])
            line[place : place + generator.randint(0, 2)] = fresh if generator.random() < 0.8 else b""
        lines.append(bytes(line))
    check(lines)


@pytest.mark.parametrize("depth", [1, 2, 5, 256])
def test_depth_counts_the_outermost_object(depth):
    line = b'{"a":' * (depth - 1) + b"{}" + b"}" * (depth - 1)
    assert is_valid(line, max_depth=depth)
    lists = b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}" if depth > 1 else b"{}"
    assert is_valid(lists, max_depth=depth)
    assert depth == 1 or not is_valid(line, max_depth=depth - 1)
    assert not is_valid(b'{"a":' + b"[" * depth + b"]" * depth + b"}", max_depth=depth)


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
def test_hostile_nesting_is_refused_at_once(opening):
    assert not is_valid(b'{"text":' + opening * 200_000 + b"}")


def test_a_very_long_string_is_scanned_and_copied():
    text = b"0123456789abcdef" * 400_000
    line = b'{"text":"' + text + b'\\n","id":"x"}'
    buffer, records = scan([line])
    offsets, data = gather_strings(buffer, records.begins[0], records.ends[0], records.escaped[0])
    assert records.status.tolist() == [0]
    assert data[: offsets[1]].tobytes() == text + b"\n"


def test_garbage_takes_no_longer_than_text():
    generator = random.Random(3)
    began = time.monotonic()
    for piece in (b"\\", b'"', b"[", b'{"', b"\xf0", b" ", b"1", b'"a":"b",'):
        assert not is_valid(b"{" + piece * (2_000_000 // len(piece)))
    assert not is_valid(generator.randbytes(2_000_000).replace(b"\n", b""))
    assert time.monotonic() - began < 10


def test_a_line_ends_where_it_is_said_to_end():
    buffer = np.frombuffer(b'{"text":"abc"}, "id": 123}' + b'"' * 64, np.uint8)
    for end in range(len(buffer) - 64):
        status = scan_records(buffer, [0], [end], (b"text",)).status[0]
        assert (status == 0) == (end == 14)


def test_many_fields_and_no_field_can_be_wanted():
    keys = [f"k{index}" for index in range(300)]
    line = json.dumps({key: index for index, key in enumerate(reversed(keys))}).encode()
    _, records = scan([line, b"{}"], keys)
    assert (records.kinds[:, 0] == NUMBER).all()
    assert not records.kinds[:, 1].any()
    assert scan([line, b"["], [])[1].status.tolist() == [0, 1]


def test_no_lines_give_no_records():
    records = scan_records(np.zeros(0, np.uint8), [], [], (b"text",))
    assert records.status.shape == (0,)
    assert records.kinds.shape == (1, 0)


def test_null_is_told_from_the_text_null():
    assert scan([b'{"text":null,"id":"null"}'])[1].kinds[:2, 0].tolist() == [NULL, STRING]


@pytest.mark.parametrize(
    ("starts", "ends", "names", "max_depth", "message"),
    [
        ([0], [99], (b"a",), 5, "buffer"),
        ([-1], [2], (b"a",), 5, "span"),
        ([2], [1], (b"a",), 5, "span"),
        ([0, 1], [1], (b"a",), 5, "begins"),
        ([0], [2], (b"a", b"a"), 5, "twice"),
        ([0], [2], (b"a",), 0, "max_depth"),
    ],
)
def test_senseless_arguments_are_refused(starts, ends, names, max_depth, message):
    with pytest.raises(ValueError, match=message):
        scan_records(np.frombuffer(b"{}", np.uint8), starts, ends, names, max_depth)

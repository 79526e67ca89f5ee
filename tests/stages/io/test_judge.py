"""One verdict for each kind of unusual line."""

import pytest

from curator.stages.io.judge import judge, parse, render

DEEP = 16
BAD = {
    "not UTF-8": (b'{"text": "caf\xe9"}', "bad_unicode"),
    "overlong": (b'{"text": "\xc0\xaf"}', "bad_unicode"),
    "CESU-8": (b'{"text": "\xed\xa0\xbd\xed\xb8\x80"}', "bad_unicode"),
    "high surrogate": (rb'{"text": "\ud800"}', "bad_unicode"),
    "low surrogate": (rb'{"text": "\udfff x"}', "bad_unicode"),
    "surrogate in another field": (rb'{"text": "a", "b": [{"c": "\ud83d"}]}', "bad_unicode"),
    "surrogate in a key": (rb'{"text": "a", "\ud83d": 1}', "bad_unicode"),
    "empty": (b"", "json_parse"),
    "no JSON": (b"not json", "json_parse"),
    "single quotes": (b"{'text': 'a'}", "json_parse"),
    "trailing comma": (b'{"text": "a",}', "json_parse"),
    "raw NUL": (b'{"text": "a\x00"}', "json_parse"),
    "two values": (b'{"text": "a"} {"text": "b"}', "json_parse"),
    "leading zero": (b'{"text": "a", "n": 01}', "json_parse"),
    "BOM inside": (b' \xef\xbb\xbf{"text": "a"}', "json_parse"),
    "string": (b'"text"', "not_an_object"),
    "number": (b"3", "not_an_object"),
    "null": (b"null", "not_an_object"),
    "list": (b'[{"text": "a"}]', "not_an_object"),
    "NaN": (b'{"text": "a", "n": NaN}', "non_finite"),
    "Infinity": (b'{"text": "a", "n": [-Infinity]}', "non_finite"),
    "too deep": (b'{"text": "a", "n": ' + b"[" * DEEP + b"]" * DEEP + b"}", "too_deep"),
    "far too deep": (b'{"text": "a", "n": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "too_deep"),
    "deep and broken": (b'{"n": ' + b'{"a":' * 100_000, "too_deep"),
}
GOOD = {
    "plain": (b'{"text": "a", "id": "b"}', ("a", "b"), ("string", "string")),
    "BOM": (b'\xef\xbb\xbf{"text": "a"}', ("a", None), ("string", "missing")),
    "CR": (b'{"text": "a"}\r', ("a", None), ("string", "missing")),
    "null": (b'{"text": null, "id": null}', (None, None), ("null", "null")),
    "numbers as written": (b'{"text": 1.50, "id": 1e999}', ("1.50", "1e999"), ("other", "other")),
    "5000 digits": (b'{"id": ' + b"9" * 5000 + b', "text": "a"}', ("a", "9" * 5000), ("string", "other")),
    "containers": (b'{"text": [1, {"a": "\xc3\xa4"}], "id": {}}', ('[1, {"a": "ä"}]', "{}"), ("other", "other")),
    "booleans": (b'{"text": true, "id": false}', ("true", "false"), ("other", "other")),
    "last key wins": (b'{"text": "a", "text": null, "id": "x", "id": "y"}', (None, "y"), ("null", "string")),
    "escaped key": (rb'{"t\u0065xt": "a"}', ("a", None), ("string", "missing")),
    "pair": (rb'{"text": "\ud83d\ude00"}', ("😀", None), ("string", "missing")),
    "escaped NUL": (rb'{"text": "\u0000"}', ("\0", None), ("string", "missing")),
    "brackets in strings": (b'{"text": "' + b"[" * 99 + rb'\"{"}', ("[" * 99 + '"{', None), ("string", "missing")),
    "deepest": (
        b'{"text": "a", "n": ' + b"[" * (DEEP - 1) + b"]" * (DEEP - 1) + b"}",
        ("a", None),
        ("string", "missing"),
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_line_gets_the_word_for_what_is_wrong(name):
    line, reason = BAD[name]
    verdict = judge(line, ["text", "id"], max_depth=DEEP)
    assert (verdict.reason, bool(verdict.detail)) == (reason, True)


@pytest.mark.parametrize("name", GOOD)
def test_a_good_line_gives_its_values_as_they_were_written(name):
    line, values, kinds = GOOD[name]
    verdict = judge(line, ["text", "id"], max_depth=DEEP)
    assert (verdict.reason, verdict.values, verdict.kinds) == ("", values, kinds)


@pytest.mark.parametrize("line", [b'{"text": "the writer died he', b'{"text"', b"{", b'{"text": "a"'])
def test_a_broken_last_line_without_line_feed_is_truncated(line):
    assert judge(line, ["text"], max_depth=DEEP, unterminated=True).reason == "truncated"
    assert judge(line, ["text"], max_depth=DEEP).reason == "json_parse"


def test_two_values_in_a_last_line_are_no_truncation():
    assert judge(b'{"text": "a"}{"text": "b"}', ["text"], max_depth=DEEP, unterminated=True).reason == "json_parse"


@pytest.mark.parametrize("opening", ['{"a": ', "["])
def test_the_deepest_value_that_can_be_allowed_is_rendered(opening):
    closing = {"{": "}", "[": "]"}[opening[0]]
    text = '{"id": ' + opening * 511 + "1.0" + closing * 511 + "}"
    assert render(parse(text.encode(), max_depth=512)) == text

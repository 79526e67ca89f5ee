"""Shingle sets against plain Python: the words of ``text.lower().split()``, and the code points of its joined form."""

import unicodedata
from itertools import product

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from curator.kernels import shingle_sets as sets_module
from curator.kernels.characters import BLOCK
from curator.kernels.shingle_sets import shingle_sets
from curator.kernels.shingles import Shingling
from curator.kernels.versions import UNICODE_VERSION
from tests.kernels import plain_shingles

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=150)
WORDS = st.lists(st.sampled_from(["a", "B", "be", "né", "ΣΟΦΟΣ", "\0", "x" * 15, "y" * 16, "z" * 17, "!", "文字"]))
SPACES = st.sampled_from([" ", "  ", "\n", "\u3000", "\x85", " " * 64])
SENTENCES = st.tuples(WORDS, SPACES).map(lambda parts: parts[1].join(parts[0]))
SHINGLINGS = st.fixed_dictionaries(
    {},
    optional={
        "unit": st.sampled_from(["word", "char", "auto"]),
        "size": st.sampled_from([1, 2, 3, 5, 8, 24, 255, 256]),
        "spaceless_size": st.integers(1, 9),
        "case": st.sampled_from(["lower", "keep"]),
        "white_space": st.sampled_from(["collapse", "keep"]),
        "punctuation": st.sampled_from(["keep", "space"]),
    },
)
same_version = pytest.mark.skipif(
    unicodedata.unidata_version != UNICODE_VERSION, reason="this Python has another version of Unicode"
)


def packed(texts):
    offsets = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(text.encode()) for text in texts], out=offsets[1:])
    return np.frombuffer("".join(texts).encode(), np.uint8), offsets


def found(texts, **options):
    hashes, offsets = shingle_sets(*packed(texts), Shingling(**options))
    return [hashes[offsets[i] : offsets[i + 1]].tolist() for i in range(len(texts))]


def expected(texts, **options):
    return [list(dict.fromkeys(plain_shingles.shingles(text, **options))) for text in texts]


@same_version
@given(st.lists(TEXT | SENTENCES, max_size=4), SHINGLINGS)
@example(["a " * 70, "", " ", "文" * 70 + " a"], {"unit": "auto", "size": 3})
def test_sets_are_those_of_plain_python(texts, options):
    assert found(texts, **options) == expected(texts, **options)


@pytest.mark.parametrize("unit", ["word", "char"])
@pytest.mark.parametrize("size", [1, 5, 24, 256])
@pytest.mark.parametrize("length", [BLOCK - 34, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 300])
def test_texts_of_many_blocks_are_cut_nowhere(unit, size, length):
    texts = ["".join(f"{number * 7919 % 1009} " for number in range(length))[: length if unit == "char" else None]]
    assert found(texts, unit=unit, size=size) == expected(texts, unit=unit, size=size)


@pytest.mark.parametrize("length", range(60, 70))
def test_a_word_may_end_at_any_place_of_a_block(length):
    texts = [f"{'a' * length} b", f"{'a' * length}", f" {'a' * length} ", f"{' ' * length}b"]
    assert found(texts, size=2) == expected(texts, size=2)


def test_two_documents_have_the_similarity_of_their_sets_of_five_lower_case_words():
    left = "The quick brown fox jumps over the lazy dog again and again"
    right = "the  QUICK brown\tfox jumps over the lazy cat again and again"

    def windows(text):
        words = text.lower().split()
        return {tuple(words[i : i + 5]) for i in range(len(words) - 4)}

    mine, yours = map(set, found([left, right]))
    assert (len(mine & yours), len(mine | yours)) == (
        len(windows(left) & windows(right)),
        len(windows(left) | windows(right)),
    )


def test_texts_that_differ_in_what_does_not_count_have_equal_sets():
    first, second, third = found(["To be,  or NOT\n", "to be, or not", "To be, or not?"])
    assert first == second != third
    assert len(set(map(tuple, found(["To be - or not!", "to be or not"], punctuation="space")))) == 1


def test_a_document_with_fewer_words_than_a_shingle_has_one_of_them_all():
    short, shorter, same, zero = found(["a b c", "a b", " a\tb ", "  "])
    assert [len(short), len(shorter), len(zero)] == [1, 1, 0]
    assert short != shorter == same


def test_empty_documents_have_no_shingles():
    for unit in ("word", "char", "auto"):
        assert found(["", " \n", "\u3000"], unit=unit) == [[], [], []]
    assert found([" "], unit="char", white_space="keep") != [[]]


@pytest.mark.parametrize(
    ("text", "is_by_character"),
    [
        ("これは日本語の文です", True),
        ("ภาษาไทยไม่มีช่องว่าง", True),
        ("ພາສາລາວ", True),
        ("ភាសាខ្មែរ", True),
        ("မြန်မာဘာသာ", True),
        ("English with some 漢字", False),
        ("漢字漢字漢 word", True),
        ("한국어 문장은 띄어쓰기를 한다", False),
        ("123 456", False),
    ],
)
def test_auto_takes_characters_for_scripts_without_spaces(text, is_by_character):
    as_characters = found([text], unit="char", size=5)
    as_words = found([text], unit="word", size=2)
    assert as_characters != as_words
    assert found([text], unit="auto", size=2) == (as_characters if is_by_character else as_words)


def test_a_document_does_not_depend_on_its_neighbours():
    texts = ["é", "x y z " * 50, "", "文字", "x y z " * 50]
    alone = [found([text], size=3)[0] for text in texts]
    assert found(texts, size=3) == alone
    data, offsets = packed(texts)
    assert shingle_sets(data, offsets[1:3], Shingling(size=3)).hashes.tolist() == alone[1]


@pytest.mark.parametrize("repeats", [10, 20_000])
def test_a_text_that_repeats_itself_has_few_shingles(repeats):
    text = "one two three four five six seven " * repeats
    assert found([text]) == expected(["one two three four five six seven " * 3])
    assert len(found([text], unit="char", size=24)[0]) == 34


@pytest.mark.parametrize("top", [0, 2**63, 2**64 - 2**20])
def test_hashes_that_differ_in_their_lowest_bits_only_are_told_apart(top):
    random = np.random.default_rng(1)
    hashes = random.integers(0, 1000, 20_000).astype(np.uint64) + np.uint64(top)
    kept, count = hashes.copy(), add_distinct_hashes(hashes, bits=12)
    assert hashes[:count].tolist() == list(dict.fromkeys(kept.tolist()))


def add_distinct_hashes(hashes, bits):
    return sets_module.add_distinct(hashes, 0, len(hashes), 0, np.zeros(1 << bits, np.uint32), bits, np.uint64(77))


@given(st.lists(st.integers(0, 5) | st.integers(0, 2**64 - 1), max_size=50), st.integers(6, 8))
def test_each_hash_is_there_once_and_in_its_sequence(values, bits):
    hashes = np.array(values, np.uint64)
    count = add_distinct_hashes(hashes, bits)
    assert hashes[:count].tolist() == list(dict.fromkeys(values))


def test_words_that_are_nearly_alike_have_different_hashes():
    words = [
        *"abcdefgh",
        "a\0",
        "a\0\0",
        "\0",
        *("x" * count for count in range(1, 40)),
        "x" * 16 + "y",
        "y" + "x" * 16,
    ]
    assert len({found([word], size=1)[0][0] for word in words}) == len(words)


@pytest.mark.parametrize("unit", ["char", "word"])
@pytest.mark.parametrize("place", range(8))
def test_columns_of_eight_that_differ_in_one_place_each_have_different_hashes(unit, place):
    # In a sum of little-endian words, differences of their last bytes alone have only eight bits to be told apart by.
    lines = []
    for letters in product("abcdefghijklmnop", repeat=3):
        line = list("ABCDEFGH" * 3)
        line[place::8] = letters
        lines.append("".join(line))
    size = 24 if unit == "char" else 1
    assert len({hashes[0] for hashes in found(lines, unit=unit, size=size)}) == len(lines)


@pytest.mark.parametrize(
    "options", [{"unit": "line"}, {"size": 0}, {"size": 257}, {"size": True}, {"case": "up"}, {"spaceless_size": 0}]
)
def test_options_that_are_not_allowed_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Shingling(**options)

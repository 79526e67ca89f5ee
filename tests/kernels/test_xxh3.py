"""XXH3 against the xxhash package, and golden values."""

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from curator.kernels.xxh3 import hash_texts

BYTES = np.random.default_rng(7).integers(0, 256, 3_000_000, dtype=np.uint8)


def digests(texts):
    offsets = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(text) for text in texts], out=offsets[1:])
    high, low = hash_texts(np.frombuffer(b"".join(texts), np.uint8), offsets)
    return [(int(upper) << 64) | int(lower) for upper, lower in zip(high, low, strict=True)]


def test_every_length_agrees_with_the_reference():
    texts = [BYTES[length : 2 * length].tobytes() for length in range(1101)]
    assert digests(texts) == [xxhash.xxh3_128_intdigest(text) for text in texts]


@pytest.mark.parametrize("length", [2047, 2048, 2049, 65536, 1_048_577, 2_999_999])
def test_long_texts_agree_with_the_reference(length):
    text = BYTES[:length].tobytes()
    assert digests([text]) == [xxhash.xxh3_128_intdigest(text)]


@given(st.lists(st.binary(max_size=400), max_size=8))
def test_a_text_has_the_same_hash_wherever_it_lies(texts):
    assert digests(texts) == [xxhash.xxh3_128_intdigest(text) for text in texts]


def test_the_values_never_change():
    assert [f"{digest:032x}" for digest in digests([b"", b"curator", b"x" * 1000])] == [
        "99aa06d3014798d86001c324468d497f",
        "03ed08dbd25f1d4529061d6cc8298b54",
        "50a1af5a5f2dcf01c0a4877b962cba82",
    ]


def test_offsets_may_begin_later_than_zero():
    high, low = hash_texts(np.frombuffer(b"not this: text", np.uint8), np.array([10, 14]))
    assert (int(high[0]) << 64) | int(low[0]) == xxhash.xxh3_128_intdigest(b"text")


@pytest.mark.parametrize("offsets", [[], [0, 3, 2], [-1, 2], [0, 99]])
def test_offsets_that_leave_the_data_are_refused(offsets):
    with pytest.raises(ValueError, match=r"offsets|buffer"):
        hash_texts(np.zeros(10, np.uint8), np.array(offsets, np.int64))

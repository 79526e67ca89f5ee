"""Compiling before the work begins: once on each node, so that the workers find the machine code on disk.

Each function calls some kernels on a few bytes. A cold cache costs seconds, a warm one a fraction of a second.
"""

from __future__ import annotations

import numpy as np

from curator.kernels.compile import cache_folder


def is_compiled() -> bool:
    """Whether there is a cache of compiled kernels for this version, Python and processor."""
    folder = cache_folder()
    return folder is not None and any(folder.rglob("*.nbi"))


def warm() -> None:
    """Compile every public kernel.

    Example:
        >>> warm()
        >>> is_compiled() or cache_folder() is None
        True
    """
    warm_reading()
    warm_hashing()
    warm_normalising()
    warm_partitioning()
    warm_sketching()
    warm_comparing()
    warm_deciding()


def warm_reading() -> None:
    """Compile what reads JSON lines."""
    from curator.kernels.json_records import gather_strings, scan_records
    from curator.kernels.lines import find_lines

    line = b'{"text": "warm\\n"}\n'
    buffer = np.zeros(len(line) + 64, np.uint8)
    buffer[: len(line)] = np.frombuffer(line, np.uint8)
    starts, ends, _ = find_lines(buffer, 0, len(line))
    records = scan_records(buffer, starts, ends, (b"text",))
    gather_strings(buffer, records.begins[0], records.ends[0], records.escaped[0])


def warm_hashing() -> None:
    """Compile what hashes texts and finds equal ones."""
    from curator.kernels.groups import first_of_equal
    from curator.kernels.xxh3 import hash_texts

    high, low = hash_texts(np.zeros(65, np.uint8), np.array([0, 1]))
    first_of_equal(high, low, np.zeros(1), np.zeros(1, np.uint64))


def warm_normalising() -> None:
    """Compile what normalises texts and checks that they are UTF-8."""
    from curator.kernels.normalise import is_ascii, lower_and_collapse_ascii
    from curator.kernels.utf8 import are_utf8

    data, offsets = np.full(65, 0x20, np.uint8), np.array([0, 1])
    rows = np.flatnonzero(is_ascii(data, offsets) & are_utf8(data, offsets))
    lower_and_collapse_ascii(data, offsets, rows, lower=True, collapse=True)


def warm_partitioning() -> None:
    """Compile what deals rows into buckets."""
    from curator.kernels.partition import bucket_of, mix_words, move_rows, places_by_bucket

    mixed = mix_words(np.zeros(1, np.uint64))
    places, _ = places_by_bucket(bucket_of(mixed, 1), 1)
    for size_bytes in (1, 2, 4, 8):
        words = np.zeros(1, f"u{size_bytes}")
        move_rows(words, places, words.copy())


def warm_sketching() -> None:
    """Compile what makes signatures and band keys of texts."""
    from curator.kernels.sketch import band_keys, sketch_sets, sketch_texts
    from curator.kernels.unicode_tables import fold_text

    fold_text("")
    signatures, _ = sketch_texts(np.zeros(65, np.uint8), np.array([0, 1]), 1)
    band_keys(signatures, 1, 1)
    sketch_sets(np.zeros(1, np.uint64), np.array([0, 1]), 1)


def warm_comparing() -> None:
    """Compile what joins buckets, compares sets of shingles and decides who is kept."""
    from curator.kernels.buckets import connect_buckets, group_words, shared_rows
    from curator.kernels.cover import cover
    from curator.kernels.jaccard import at_least, pair_similarities
    from curator.kernels.union_find import components

    hashes, offsets, first = np.zeros(1, np.uint64), np.array([0, 1]), np.zeros(1, np.int64)
    shared_rows(hashes)
    connect_buckets(hashes, hashes)
    group_words(hashes, first, 1)
    components(hashes, hashes)
    at_least(hashes, hashes, 1.0)
    pair_similarities(hashes, offsets, first, first)
    cover(first, hashes, offsets, hashes, offsets, 1.0)


def warm_deciding() -> None:
    """Compile what decides about documents as they pass."""
    from curator.kernels.kept_keys import KeptKeys
    from curator.kernels.shared_keys import SharedKeys

    table, none, words = KeptKeys(), np.zeros(0, np.bool_), np.zeros((0, 1), np.uint64)
    table.decide_pairs(words[:, 0], words[:, 0], none)
    table.decide_words(words, none)
    table.make_room(1 << 13)
    shared = SharedKeys()
    shared.find(words, none)
    shared.add(words, np.zeros(0, np.int64))

"""Signatures: pinned by golden files, and unbiased for sets of any size."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.kernels.shingle_sets import shingle_sets
from curator.kernels.shingles import Shingling
from curator.kernels.sketch import SCHEMES, band_keys, sketch_sets, sketch_texts
from tests.kernels import golden_sketches, plain_shingles
from tests.kernels.test_shingles import packed

HASHES = st.lists(st.integers(0, 2**64 - 2), max_size=40)


def golden(setting):
    return json.loads(golden_sketches.path_of(setting).read_text(encoding="utf-8"))


@pytest.mark.parametrize("setting", golden_sketches.SETTINGS)
def test_signatures_are_the_golden_ones(setting):
    expected = golden(setting)
    shingling = Shingling(**expected["settings"])
    texts = packed(golden_sketches.TEXTS)
    hashes, offsets = shingle_sets(*texts, shingling)
    sets = [hashes[offsets[i] : offsets[i + 1]].tolist() for i in range(len(offsets) - 1)]
    assert [min(each, default=None) for each in sets] == expected["smallest"]
    for scheme in SCHEMES:
        signatures, counts = sketch_texts(*texts, golden_sketches.NUM_HASHES, shingling=shingling, scheme=scheme)
        assert signatures.tolist() == expected[scheme]
        assert counts.tolist() == expected["counts"]
    signatures, _ = sketch_texts(*texts, golden_sketches.NUM_HASHES, shingling=shingling)
    scopes = np.full(len(signatures), golden_sketches.SCOPE, np.uint64)
    shape = (golden_sketches.BANDS, golden_sketches.ROWS)
    assert band_keys(signatures, *shape).T.tolist() == expected["band_keys"]
    assert band_keys(signatures, *shape, scopes).T.tolist() == expected["scoped_band_keys"]


@pytest.mark.parametrize("setting", golden_sketches.SETTINGS)
def test_the_golden_files_are_what_plain_python_computes(setting):
    assert golden(setting) == golden_sketches.compute(setting)


def test_a_processor_without_vectors_makes_the_same_signatures(tmp_path):
    script = (
        "from tests.kernels import test_sketch as tests\n"
        "for setting in ('word', 'char'): tests.test_signatures_are_the_golden_ones(setting)\n"
        "print('same')"
    )
    environment = os.environ | {
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CPU_FEATURES": "",
        "NUMBA_CACHE_DIR": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False, timeout=280
    )
    assert done.stdout == "same\n", done.stderr


@settings(deadline=None)
@given(st.lists(HASHES, max_size=3), st.integers(1, 40))
def test_signatures_of_sets_are_those_of_plain_python(sets, num_hashes):
    offsets = np.cumsum([0, *map(len, sets)])
    hashes = np.array([each for members in sets for each in members], np.uint64)
    fast, classic = (sketch_sets(hashes, offsets, num_hashes, scheme=scheme).signatures.tolist() for scheme in SCHEMES)
    assert fast == [plain_shingles.fast_signature(members, num_hashes) for members in sets]
    assert classic == [plain_shingles.classic_signature(members, num_hashes) for members in sets]


@pytest.mark.parametrize("scheme", SCHEMES)
@given(words=st.lists(st.sampled_from("abcdefgh"), max_size=60), seed=st.integers(0, 9))
def test_order_and_repetition_of_shingles_do_not_matter(scheme, words, seed):
    hashes, _ = shingle_sets(*packed([" ".join(words)]), Shingling(size=2))
    repeated = np.random.default_rng(seed).permutation(np.repeat(hashes, 3))
    expected = sketch_texts(*packed([" ".join(words)]), 16, shingling=Shingling(size=2), scheme=scheme)
    for members in (hashes, repeated):
        again = sketch_sets(members, [0, len(members)], 16, scheme=scheme)
        assert again.signatures.tolist() == expected.signatures.tolist()


def pairs_of_sets(similarity, size, num_pairs, seed):
    """Pairs of random sets of about ``size`` members, and their true similarity."""
    shared = round(2 * size * similarity / (1 + similarity))
    own = size - shared
    random = np.random.default_rng(seed)
    members = random.integers(0, 2**64 - 1, (num_pairs, shared + 2 * own), np.uint64, endpoint=False)
    left, right = members[:, : shared + own], np.concatenate([members[:, :shared], members[:, shared + own :]], axis=1)
    interleaved = np.stack([left, right], axis=1).reshape(-1)
    return interleaved, np.arange(0, len(interleaved) + 1, size), shared / (shared + 2 * own)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 10, 20, 60, 500])
@pytest.mark.parametrize("similarity", [0.0, 0.3, 0.6, 0.8, 1.0])
def test_the_share_of_equal_positions_estimates_the_similarity(scheme, size, similarity):
    num_hashes, num_pairs = 112, 400
    hashes, offsets, truth = pairs_of_sets(similarity, size, num_pairs, seed=size)
    signatures = sketch_sets(hashes, offsets, num_hashes, scheme=scheme).signatures
    shares = (signatures[0::2] == signatures[1::2]).mean(axis=1)
    error = np.sqrt(truth * (1 - truth) / num_hashes)
    assert abs(shares.mean() - truth) <= 4.5 * error / np.sqrt(num_pairs) + 1e-9
    # Independent permutations have exactly this error; the fast scheme has at most this one.
    assert np.sqrt(((shares - truth) ** 2).mean()) <= 1.15 * error + 1e-9


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", [8, 100, 700])
def test_candidates_follow_the_s_curve(scheme, size):
    bands, rows, num_pairs = 14, 8, 3000
    for similarity in (0.6, 0.7, 0.8, 0.9):
        hashes, offsets, truth = pairs_of_sets(similarity, size, num_pairs, seed=7)
        keys = band_keys(sketch_sets(hashes, offsets, bands * rows, scheme=scheme).signatures, bands, rows)
        share = (keys[:, 0::2] == keys[:, 1::2]).any(axis=0).mean()
        expected = 1 - (1 - truth**rows) ** bands
        # Sets of a few shingles do not draw their positions independently.
        assert abs(share - expected) <= 4.5 * np.sqrt(expected * (1 - expected) / num_pairs) + (
            0.06 if size < 50 else 0.01
        )


def test_a_document_without_shingles_is_marked():
    signatures, counts = sketch_texts(*packed(["", "a b c", " "]), 8)
    assert counts.tolist() == [0, 1, 0]
    assert (signatures[[0, 2]] == 2**32 - 1).all()
    assert (signatures[1] != 2**32 - 1).any()


def test_a_long_text_that_repeats_itself_gets_the_signature_of_its_set():
    text = "one two three four five six seven " * 8000
    once = sketch_texts(*packed([text[:340]]), 112).signatures
    assert (sketch_texts(*packed([text]), 112).signatures == once).all()


def test_scopes_keep_documents_apart():
    signatures = np.zeros((3, 8), np.uint32)
    keys = band_keys(signatures, 2, 4, np.array([1, 1, 2], np.uint64))
    assert ((keys[:, 0] == keys[:, 1]) & (keys[:, 0] != keys[:, 2])).all()
    assert len(set(keys.ravel().tolist())) == 4


def test_equal_rows_in_another_order_have_another_key():
    keys = band_keys(np.array([[1, 2], [2, 1]], np.uint32), 1, 2)
    assert keys[0, 0] != keys[0, 1]


@pytest.mark.parametrize(("num_hashes", "scheme"), [(0, "fast"), (65537, "fast"), (8, "slow")])
def test_schemes_and_lengths_that_do_not_exist_are_refused(num_hashes, scheme):
    with pytest.raises(ValueError, match=r"num_hashes|scheme"):
        sketch_texts(*packed(["a"]), num_hashes, scheme=scheme)


@pytest.mark.parametrize(("bands", "rows"), [(3, 3), (0, 4), (1, 0)])
def test_bands_that_a_signature_does_not_have_are_refused(bands, rows):
    with pytest.raises(ValueError, match="bands"):
        band_keys(np.zeros((1, 8), np.uint32), bands, rows)

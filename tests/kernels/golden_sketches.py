"""What the files in ``golden`` were made from, and how: ``python -m tests.kernels.golden_sketches``.

Only ``plain_shingles`` computes them, never a kernel. They change together with ``SHINGLE_VERSION`` or
``SCHEME_VERSION`` and at no other time: signatures of earlier runs would no longer compare.
"""

import json
from pathlib import Path

from tests.kernels import plain_shingles

FOLDER = Path(__file__).parent / "golden"

TEXTS = (
    "",
    " \n\t ",
    "word",
    "To be, or not to be: that is the question.",
    "TO  BE, or\u00a0not to\u3000be: that IS the question. ",
    "to be, or not to be: that was the question",
    "the same four words " * 300,
    "\u0130stanbul \u039f\u0394\u039f\u03a3 na\u00efve \U00010400 \u201cquoted\u201d \u2014 1\u00bd\x1f2\x85end",
    "\u6f22\u5b57\u3068\u304b\u306a\u306e\u6587\u3067\u3059\u3002\u30ab\u30bf\u30ab\u30ca\u3082\u3042\u308a\u307e\u3059",
    "\u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22\u0e44\u0e21\u0e48\u0e21\u0e35\u0e0a\u0e48\u0e2d\u0e07\u0e27\u0e48\u0e32\u0e07",
    "a-word-of-more-than-sixteen-bytes and-one-of-exactly-24-byt \0\0 \0",
    " ".join(str(number * number) for number in range(1500)),
)

SETTINGS = {
    "word": {},
    "word_raw": {"size": 3, "case": "keep"},
    "word_bare": {"size": 1, "punctuation": "space"},
    "char": {"unit": "char", "size": 24},
    "char_raw": {"unit": "char", "size": 7, "case": "keep", "white_space": "keep"},
    "auto": {"unit": "auto"},
}
BANDS, ROWS, SCOPE = 4, 5, 0x0123456789ABCDEF
NUM_HASHES = 21


def compute(setting):
    hashes = [plain_shingles.shingles(text, **SETTINGS[setting]) for text in TEXTS]
    fast = [plain_shingles.fast_signature(each, NUM_HASHES) for each in hashes]
    classic = [plain_shingles.classic_signature(each, NUM_HASHES) for each in hashes]
    return {
        "settings": SETTINGS[setting],
        "counts": [len(each) for each in hashes],
        "smallest": [min(each, default=None) for each in hashes],
        "fast": fast,
        "classic": classic,
        "band_keys": [plain_shingles.band_keys(each, BANDS, ROWS) for each in fast],
        "scoped_band_keys": [plain_shingles.band_keys(each, BANDS, ROWS, SCOPE) for each in fast],
    }


def path_of(setting):
    return FOLDER / f"sketches_{setting}.json"


if __name__ == "__main__":
    for name in SETTINGS:
        lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in compute(name).items())
        path_of(name).write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")

"""No kernel reads further than PADDING bytes beyond its input: behind them lies a page that cannot be read."""

import subprocess
import sys
from pathlib import Path

import curator

SCRIPT = r"""
import ctypes, itertools, mmap
import numpy as np
from curator.kernels.json_records import gather_strings, scan_records
from curator.kernels.lines import find_lines
from curator.kernels.normalise import is_ascii, lower_and_collapse_ascii
from curator.kernels.shingle_sets import shingle_sets
from curator.kernels.shingles import Shingling
from curator.kernels.sketch import sketch_texts
from curator.kernels.vector import PADDING
from curator.kernels.xxh3 import hash_texts

page = mmap.PAGESIZE
area = mmap.mmap(-1, 2 * page)
address = ctypes.addressof(ctypes.c_char.from_buffer(area))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.mprotect(ctypes.c_void_p(address + page), ctypes.c_size_t(page), 0) == 0
whole = np.frombuffer(area, np.uint8)

def placed(text):
    begin = page - PADDING - len(text)
    whole[: page] = 0x5C
    whole[begin : begin + len(text)] = np.frombuffer(text, np.uint8)
    return whole[begin:page]

tails = [b"", b"\\", b"\\u", b"\\u12", b"\\ud83d", b"\\ud83d\\u", b"\xf0", b"\xe2\x82"]
tails += [b'"', b'"}', b"tru", b"-", b"1e", b"\n"]
for length, tail in itertools.product([0, 1, 17, 54, 55, 56, 63, 64, 65, 241, 1024], tails):
    text = b'{"text":"' + b"x" * length + tail
    for line in (text, b'{"text":' + tail, b'{"text":' + b"[" * length + tail):
        buffer = placed(line)
        lines = np.array([len(line)])
        find_lines(buffer, 0, len(line))
        scan_records(buffer, [0], lines, (b"text",))
        gather_strings(buffer, [0], lines, [1])
        offsets = np.array([0, len(line)])
        hash_texts(buffer, offsets)
        is_ascii(buffer, offsets)
        lower_and_collapse_ascii(buffer, offsets, [0], True, True)
        lower_and_collapse_ascii(buffer, offsets, [0], True, False)
        for unit in ("word", "char", "auto"):
            shingling = Shingling(unit=unit, punctuation="space")
            sketch_texts(buffer, offsets, 8, shingling=shingling)
            shingle_sets(buffer, offsets, shingling)
print("survived")
"""


def test_kernels_stay_inside_the_padding():
    root = Path(curator.__path__[0]).parent
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=root, capture_output=True, text=True, check=False)
    assert done.stdout == "survived\n", done.stderr

"""Shingles, signatures and band keys in plain Python, written from the definitions and not from the kernels.

It is slow, imports nothing of the package, and made the files in ``golden``.
"""

import unicodedata

MASK = 2**64 - 1
ASCII_PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
SPACELESS_SCRIPTS = (
    "CJK UNIFIED IDEOGRAPH",
    "CJK COMPATIBILITY IDEOGRAPH",
    "HIRAGANA",
    "KATAKANA",
    "HALFWIDTH KATAKANA",
    "THAI",
    "LAO",
    "KHMER",
    "MYANMAR",
)


def mix(word):
    word = ((word ^ word >> 30) * 0xBF58476D1CE4E5B9) & MASK
    word = ((word ^ word >> 27) * 0x94D049BB133111EB) & MASK
    return word ^ word >> 31


def is_punctuation(character):
    return character in ASCII_PUNCTUATION or unicodedata.category(character).startswith("P")


def is_spaceless(character):
    return unicodedata.name(character, "").startswith(SPACELESS_SCRIPTS)


def is_letter(character):
    return unicodedata.category(character).startswith("L")


def fold(word):
    return ((word ^ word >> 32) * 0xD6E8FEB86659FD93) & MASK


def word_hash(word):
    encoded = word.encode()
    length = len(encoded)
    total = length * 0x165667B19E3779F9 + spread(little(encoded[-8:])) * 0x9E3779B97F4A7C15
    total += spread(little(encoded[:8])) * 0xC2B2AE3D27D4EB4F if length > 8 else 0
    total += spread(little(encoded[8:16])) * 0x9FB21C651E98DF25 if length > 16 else 0
    hashed = fold(total & MASK)
    for position in range(16, length - 8, 8):
        hashed = fold((hashed + little(encoded[position : position + 8]) * 0x9E3779B97F4A7C15) & MASK)
    return hashed


def spread(word):
    return word ^ word >> 32


def little(some_bytes):
    return int.from_bytes(some_bytes, "little")


def hash_of_words(units):
    total = len(units) * 0xA0761D6478BD642F
    for power, unit in enumerate(reversed(units)):
        total += unit * pow(0x5851F42D4C957F2D, power, 2**64)
    return min(mix(total & MASK), MASK - 1)


def hash_of_characters(characters):
    encoded = "".join(characters).encode()
    chunks = [encoded[position : position + 8] for position in range(0, len(encoded), 8)]
    if len(encoded) > 8:
        chunks[-1] = encoded[-8:]
    total = len(encoded) * 0x165667B19E3779F9
    for power, chunk in enumerate(chunks):
        total += spread(little(chunk)) * pow(0x9E3779B97F4A7C15, power, 2**64)
    total &= MASK
    mixed = (total ^ total >> 32) * 0xC2B2AE3D27D4EB4F & MASK
    return min(mixed ^ mixed >> 32, MASK - 1)


def units_of(text, *, unit="word", size=5, spaceless_size=5, case="lower", white_space="collapse", punctuation="keep"):
    """Whether windows are made of words, these words or characters, and how many are in one."""
    letters = [character for character in text if is_letter(character)]
    blanks = [is_punctuation(character) and punctuation == "space" for character in text]
    if unit == "auto":
        unit = "word"
        if 2 * sum(map(is_spaceless, letters)) > len(letters):
            unit, size = "char", spaceless_size
    lowered = text
    if case == "lower":
        # str.lower looks at the neighbours of a sigma, so punctuation goes afterwards.
        lowered = text.lower()
    if any(blanks):
        lowered = "".join(" " if is_punctuation(character) else character for character in lowered)
    if unit == "word":
        return True, lowered.split(), size
    return False, list(" ".join(lowered.split()) if white_space == "collapse" else lowered), size


def windows(units, size):
    if len(units) < size:
        return [tuple(units)] if units else []
    return [tuple(units[i : i + size]) for i in range(len(units) - size + 1)]


def shingles(text, **options):
    """The hashes of a text in its order."""
    is_word, units, size = units_of(text, **options)
    if is_word:
        return [hash_of_words(window) for window in windows([word_hash(unit) for unit in units], size)]
    return [hash_of_characters(window) for window in windows(units, size)]


def fast_signature(hashes, num_hashes):
    """Fast Similarity Sketching of Dahlgaard, Knudsen and Thorup, with 32 bits of each value."""
    bins = [None] * num_hashes
    for turn in range(2 * num_hashes if hashes else 0):
        for hashed in set(hashes):
            drawn = hashed
            if turn:
                drawn = (hashed * (mix(turn * 0x9E3779B97F4A7C15 & MASK) | 1)) & MASK
                drawn ^= drawn >> 32
            place = ((drawn >> 32) * num_hashes) >> 32 if turn < num_hashes else turn - num_hashes
            candidate = (turn, drawn & 0xFFFFFFFF)
            if bins[place] is None or candidate < bins[place]:
                bins[place] = candidate
        if None not in bins:
            break
    return [2**32 - 1 if value is None else value[1] for value in bins]


def classic_signature(hashes, num_hashes):
    """One affine permutation of the low 32 bits for each value."""
    signature = []
    for index in range(num_hashes):
        drawn = mix((index + 1) * 0x9E3779B97F4A7C15 & MASK)
        factor, shift = drawn & 0xFFFFFFFF | 1, drawn >> 32
        signature.append(min((((h & 0xFFFFFFFF) * factor + shift) & 0xFFFFFFFF for h in hashes), default=2**32 - 1))
    return signature


def band_keys(signature, bands, rows, scope=0):
    keys = []
    for band in range(bands):
        total = mix((scope + (band + 1) * 0x9E3779B97F4A7C15) & MASK)
        for row in range(rows):
            total += signature[band * rows + row] * (mix((row + 1) * 0xD1B54A32D192ED03 & MASK) | 1)
        keys.append(mix(total & MASK))
    return keys

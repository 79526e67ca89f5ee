"""Texts that are nearly the same, and plain Python that says how similar they are; it shares no code with curator."""

import itertools
import random
from collections import defaultdict

WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in ("", "n", "st", "lo", "ré")]


def shingles(text, unit="word", size=5):
    """The set of n-grams of a text, in lower case and with single spaces; a shorter text is one of them."""
    units = text.lower().split() if unit == "word" else list(" ".join(text.lower().split()))
    if not units:
        return set()
    return {tuple(units[start : start + size]) for start in range(max(len(units) - size + 1, 1))}


def similarity(left, right):
    """Jaccard similarity of two sets of shingles."""
    return len(left & right) / len(left | right) if left and right else 0.0


def similar_pairs(texts, threshold, **options):
    """Every pair ``i < j`` whose similarity is at least the threshold, by brute force."""
    sets = [shingles(text, **options) for text in texts]
    holders = defaultdict(list)
    for number, found in enumerate(sets):
        for shingle in found:
            holders[shingle].append(number)
    pairs = {pair for numbers in holders.values() for pair in itertools.combinations(numbers, 2)}
    compared = {pair: similarity(sets[pair[0]], sets[pair[1]]) for pair in pairs}
    return {pair: found for pair, found in compared.items() if found >= threshold}


def write_families(seed, num_families, *, most_changes=5, words=(40, 250)):
    """Families of texts: a random one, and copies in which some words were replaced, dropped or added; shuffled."""
    chance = random.Random(seed)
    texts = []
    for _ in range(num_families):
        base = chance.choices(WORDS, k=chance.randint(*words))
        texts.append(" ".join(base))
        for _ in range(chance.randint(0, 4)):
            copy = list(base)
            for _ in range(chance.randint(0, most_changes)):
                place = chance.randrange(len(copy))
                copy[place : place + 1] = chance.choices(WORDS, k=chance.choice([0, 1, 1, 2]))
                copy = copy or ["one"]
            texts.append(("  " if chance.random() < 0.1 else " ").join(copy))
    chance.shuffle(texts)
    return texts


def greedy(texts, threshold, **options):
    """Which texts stay if each one goes that is similar to one kept before."""
    neighbours = defaultdict(set)
    for left, right in similar_pairs(texts, threshold, **options):
        neighbours[right].add(left)
    kept = set()
    for number in range(len(texts)):
        if not neighbours[number] & kept:
            kept.add(number)
    return sorted(kept)


def pair_of_similarity(chance, numerator, denominator, size=5):
    """Two texts of words found nowhere else whose shingle sets have a similarity of about the given fraction."""
    union = denominator * 4
    shared = numerator * 4
    own = union - shared
    middle = [f"m{chance.getrandbits(60)}" for _ in range(shared + size - 1)]
    left = [f"l{chance.getrandbits(60)}" for _ in range(own // 2)]
    right = [f"r{chance.getrandbits(60)}" for _ in range(own - own // 2)]
    return " ".join(left + middle), " ".join(middle + right)

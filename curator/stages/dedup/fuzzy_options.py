"""The options of fuzzy deduplication that can be judged one by one; bands and rows are judged where they are chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from curator.stages.dedup.keeper import POLICIES, is_policy
from curator.stages.dedup.normalise import CASES, UNICODE_FORMS, WHITE_SPACES

VERIFIES = ("exact", "signature", "none")
CLUSTERS = ("keeper", "components")

_CHOICES = {
    "shingle": ("word", "char", "auto"),
    "scheme": ("fast", "classic"),
    "verify": VERIFIES,
    "cluster": CLUSTERS,
    "case": CASES,
    "white_space": WHITE_SPACES,
    "punctuation": ("keep", "space"),
    "unicode": UNICODE_FORMS,
}
_LARGEST_SIZE = 256
_MOST_HASHES = 1 << 16
_NUMBERS: dict[str, int | None] = {
    "shingle_size": _LARGEST_SIZE,
    "spaceless_size": _LARGEST_SIZE,
    "max_comparisons": None,
    "partition_bytes": None,
    "compare_bytes": None,
}


def check_options(options: Mapping[str, Any]) -> list[str]:
    """The mistakes in some options, a sentence each.

    Example:
        >>> check_options({"verify": "exakt", "shingle_size": 0})[1]
        'fuzzy.shingle_size=0: must be a whole number of 1 to 256.'
    """
    problems = [
        f"fuzzy.{key}: {options[key]!r} is not known. Choose from: {', '.join(choices)}."
        for key, choices in _CHOICES.items()
        if key in options and options[key] not in choices
    ]
    for key, most in _NUMBERS.items():
        if key in options and not _is_whole(options[key], most):
            allowed = "of at least 1" if most is None else f"of 1 to {most}"
            problems.append(f"fuzzy.{key}={options[key]!r}: must be a whole number {allowed}.")
    problems += [
        f"fuzzy.{key}={options[key]!r}: must be a whole number of at least 1, or null {meaning}."
        for key, meaning in (("bands_per_iteration", "for all bands"), ("documents_per_task", "to have it chosen"))
        if options.get(key) is not None and not _is_whole(options[key], None)
    ]
    if "keep" in options and not is_policy(options["keep"]):
        problems.append(f"fuzzy.keep: {options['keep']!r} is not known. Choose from: {POLICIES}.")
    num_hashes = options.get("num_hashes")
    if num_hashes is not None and not _is_whole(num_hashes, _MOST_HASHES):
        problems.append(
            f"fuzzy.num_hashes={num_hashes!r}: must be a whole number of 1 to {_MOST_HASHES}, or null for bands * rows."
        )
    if options.get("signatures") is not None and options.get("keep_signatures") is not None:
        problems.append(
            "fuzzy.signatures, fuzzy.keep_signatures: signatures that are there already need not be kept again. Leave "
            "one of the two out."
        )
    problems += [
        f"fuzzy.{key}: is empty. Name a folder, or null."
        for key in ("signatures", "keep_signatures")
        if options.get(key) == ""
    ]
    scope = options.get("scope")
    if scope is not None and not (isinstance(scope, str) and scope):
        problems.append(f"fuzzy.scope={scope!r}: must be the name of a column, or null to compare all documents.")
    product = options.get("product", 1)
    if product > _MOST_HASHES:
        problems.append(
            f"fuzzy.bands, fuzzy.rows: their product is {product:,}, more than the {_MOST_HASHES:,} of a signature."
        )
    return problems


def _is_whole(value: object, most: int | None) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1 and (most is None or value <= most)

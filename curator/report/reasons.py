"""Why a document was removed, in words: a row of the ledger and the settings of its stage flow in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from curator.report.excerpt import escape

_NORMALISING = ("case", "white_space", "unicode", "punctuation")


def describe_reason(entry: Mapping[str, Any], settings: Mapping[str, Mapping[str, Any]]) -> str:
    """One sentence without its full stop.

    Args:
        entry: a row of the ledger.
        settings: of each stage, by its name, as the manifest has them.

    Example:
        >>> row = {"stage": "fuzzy", "reason": "near_duplicate", "key": None, "score": 0.91}
        >>> describe_reason(row, {"fuzzy": {"verify": "exact", "threshold": 0.8}})
        'by fuzzy: near_duplicate, similarity 0.9100, threshold 0.8'
        >>> row = {"stage": "exact", "reason": "exact_duplicate", "key": "9b0b", "score": None}
        >>> describe_reason(row, {"exact": {"case": "lower", "white_space": "keep", "unicode": "keep"}})
        'by exact: exact_duplicate after case=lower, key 9b0b'
    """
    own = settings.get(entry["stage"], {})
    said = f"by {escape(entry['stage'])}: {escape(entry['reason'])}"
    if entry["reason"] == "near_duplicate" and "verify" in own:
        return f"{said}, {_similarity(entry['score'], own)}"
    if entry["reason"] == "exact_duplicate":
        changed = [f"{key}={own[key]}" for key in _NORMALISING if own.get(key, "keep") != "keep"]
        said += f" after {', '.join(changed)}" if changed else ""
    said += f", key {escape(entry['key'])}" if entry["key"] is not None else ""
    return said + (f", score {entry['score']:.4f}" if entry["score"] is not None else "")


def _similarity(score: float | None, settings: Mapping[str, Any]) -> str:
    threshold = settings["threshold"]
    if settings["verify"] == "none" or score is None:
        return "shares a bucket, not compared"
    how = "estimated similarity" if settings["verify"] == "signature" else "similarity"
    through = ", similar to it through others" if score < threshold else ""
    return f"{how} {score:.4f}, threshold {threshold}{through}"

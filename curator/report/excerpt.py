"""Texts of records as a terminal may show them: escaped, shortened, and beside another text with what differs marked.

Texts flow in, single lines flow out. Nothing of a record can move a cursor, colour a terminal or begin a new line.
"""

from __future__ import annotations

import json
import re
from difflib import SequenceMatcher

_CHARACTERS = 300
_OF_A_CHANGE = 160
_CONTEXT_WORDS = 6
_SHOWN_CHANGES = 6
_COMPARED_WORDS = 2_000
_LONGEST_WORD = 40
_WORD = re.compile(r"\s*\S+\s*")


def escape(text: str) -> str:
    r"""Text of a record as one line that cannot move a cursor or colour a terminal.

    Example:
        >>> escape("a\x1b[31mb\nc")
        'a\\x1b[31mb\\nc'
    """
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] if c in "\n\t\r" else f"\\x{ord(c):02x}" for c in text)


def excerpt(text: str, most: int = _CHARACTERS) -> str:
    """The beginning of a text, and how long it is if that is not all.

    Example:
        >>> excerpt("to be or not to be", most=5)
        'to be ... (18 characters)'
    """
    rest = f" ... ({len(text):,} characters)" if len(text) > most else ""
    return escape(text[:most]) + rest


def mark_difference(kept: str, removed: str) -> str:
    """The places where a removed text differs from the kept one, with some words around each.

    ``[-these-]`` words are in the kept text only, ``{+these+}`` in the removed one only. Words are compared, not the
    white space between them; of very long words, as in scripts without spaces, single characters.

    Example:
        >>> mark_difference("one two three four", "one 2 three four five")
        'one [-two-]{+2+} three four {+five+}'
        >>> mark_difference("one  two", "one two"), mark_difference("one", "one")
        ('(the same words; white space differs)', '(the same text)')
    """
    if kept == removed:
        return "(the same text)"
    left, right = _words(kept), _words(removed)
    keys = [[word.strip() for word in words] for words in (left, right)]
    if keys[0] == keys[1]:
        return "(the same words; white space differs)"
    begin = _common(keys[0], keys[1])
    end = _common(keys[0][begin:][::-1], keys[1][begin:][::-1])
    stops = [begin + min(len(words) - end - begin, _COMPARED_WORDS) for words in keys]
    matcher = SequenceMatcher(None, keys[0][begin : stops[0]], keys[1][begin : stops[1]], autojunk=False)
    changes = [
        (begin + a, begin + b, begin + c, begin + d) for kind, a, b, c, d in matcher.get_opcodes() if kind != "equal"
    ]
    pieces: list[str] = []
    at = 0
    for from_left, to_left, from_right, to_right in changes[:_SHOWN_CHANGES]:
        pieces.append(_context(right[at:from_right], is_first=not pieces))
        pieces.append(_change("".join(left[from_left:to_left]), "".join(right[from_right:to_right])))
        at = to_right
    pieces.append(_context(right[at:], is_last=True))
    is_cut = any(stop < len(words) - end for stop, words in zip(stops, keys, strict=True))
    more = len(changes) - _SHOWN_CHANGES
    said = f" ({more:,} more places differ)" if more > 0 else " (compared no further)" if is_cut else ""
    return "".join(pieces).strip() + said


def _words(text: str) -> list[str]:
    """Words with the white space behind them; long ones fall into characters."""
    words = _WORD.findall(text)
    return [part for word in words for part in ([word] if len(word.strip()) <= _LONGEST_WORD else word)]


def _common(left: list[str], right: list[str]) -> int:
    """Words that two lists have in common at their beginning."""
    count = 0
    for one, other in zip(left, right, strict=False):
        if one != other:
            break
        count += 1
    return count


def _context(words: list[str], *, is_first: bool = False, is_last: bool = False) -> str:
    """Words between two changes, without those that are far from both."""
    before = [] if is_first else words[:_CONTEXT_WORDS]
    behind = [] if is_last else words[len(before) :][-_CONTEXT_WORDS:]
    if len(before) + len(behind) == len(words):
        return escape("".join(words))
    return f"{escape(''.join(before).rstrip())} ... {escape(''.join(behind))}"


def _change(old: str, new: str) -> str:
    """Two versions of one place, and a space where white space follows them."""
    marked = [
        f"{left}{excerpt(text.strip(), _OF_A_CHANGE)}{right}" if text else ""
        for left, right, text in (
            ("[-", "-]", old),
            ("{+", "+}", new),
        )
    ]
    last = new or old
    return "".join(marked) + (" " if last != last.rstrip() or not new else "")

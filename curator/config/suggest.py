"""The nearest right name for a wrong one; every message about a name ends with it."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Find the name that was probably meant.

    Args:
        name: what was typed.
        names: what is allowed.

    Returns:
        The nearest allowed name, or ``None`` when none is near.

    Example:
        >>> nearest("ray_actor_pol", ["local", "ray_actor_pool"])
        'ray_actor_pool'
    """
    # Case is the user's slip, not a difference: LOCAL is near local.
    by_lower = {allowed.lower(): allowed for allowed in sorted(names, reverse=True)}
    close = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    if close:
        return by_lower[close[0]]
    begun = [allowed for lower, allowed in by_lower.items() if name and lower.startswith(name.lower())]
    return begun[0] if len(begun) == 1 else None


def suggest(name: str, names: Iterable[str], *, kind: str, prefix: str = "") -> str:
    """Say which names are allowed, the nearest first.

    Args:
        name: what was typed.
        names: what is allowed.
        kind: what the names are, in the plural: ``options``, ``keys``.
        prefix: put before the nearest name, so that it can be typed as it stands.

    Returns:
        A sentence or two, to be put after the sentence that says what is wrong.

    Example:
        >>> suggest("kep", ["keep", "case"], kind="keys", prefix="stages.exact.")
        "Did you mean 'stages.exact.keep'? The keys are: case, keep."
    """
    allowed = sorted(set(names))
    if not allowed:
        return f"There are no {kind} here."
    choices = f"The {kind} are: {', '.join(allowed)}."
    close = nearest(name, allowed)
    return f"Did you mean '{prefix}{close}'? {choices}" if close else choices

"""Draw docs/s_curve.svg: the share of pairs that is found, by their similarity, for the settings of the page.

    python scripts/draw_s_curve.py

A picture that every viewer shows, without any library. `tests/stages/dedup/test_lsh_parameters.py` draws it again and
compares.
"""

from __future__ import annotations

from pathlib import Path

from curator.stages.dedup.lsh_parameters import choose_bands, s_curve

PICTURE = Path(__file__).parents[1] / "docs" / "s_curve.svg"

_WIDTH, _HEIGHT = 720, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 86, 700, 24, 364
_LEAST = 0.2
_STEPS = 120
_STYLES = (("#0072b2", ""), ("#d55e00", ""), ("#009e73", "9 5"), ("#7a4fa3", "2 4"))


def curves() -> list[tuple[int, int, str]]:
    """Bands, rows and what they are for, from the most that is found to the least."""
    chosen = {threshold: choose_bands(threshold) for threshold in (0.7, 0.8, 0.9)}
    names = {0.7: "threshold: 0.7", 0.8: "threshold: 0.8, the default", 0.9: "threshold: 0.9"}
    found = [(chosen[threshold].bands, chosen[threshold].rows, name) for threshold, name in names.items()]
    return [*found[:2], (20, 13, "stages=fuzzy_nemo"), found[2]]


def draw() -> str:
    """The picture as text."""
    style = f'width="{_WIDTH}" role="img" font-family="sans-serif" font-size="14" fill="#222"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" {style}>',
        "<title>Share of pairs that is found, by their similarity</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
    ]
    for percent in range(0, 101, 20):
        y = _y(percent / 100)
        parts.append(f'<path d="M{_LEFT} {y}H{_RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 5:.1f}" text-anchor="end">{percent} %</text>')
    for tenth in range(2, 11):
        x = _x(tenth / 10)
        parts.append(f'<path d="M{x} {_TOP}V{_BOTTOM}" stroke="#ddd"/>')
        parts.append(f'<text x="{x}" y="{_BOTTOM + 20}" text-anchor="middle">{tenth / 10}</text>')
    middle = (_LEFT + _RIGHT) // 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 10}" text-anchor="middle">similarity of two documents</text>')
    turned = f'transform="rotate(-90 20 {(_TOP + _BOTTOM) // 2})" text-anchor="middle"'
    parts.append(f'<text x="20" y="{(_TOP + _BOTTOM) // 2}" {turned}>pairs that are found</text>')
    points = [_LEAST + (1 - _LEAST) * step / _STEPS for step in range(_STEPS + 1)]
    for number, ((bands, rows, name), (colour, dashes)) in enumerate(zip(curves(), _STYLES, strict=True)):
        shares = s_curve(bands, rows, points)
        line = " ".join(f"{_x(point)},{_y(share)}" for point, share in zip(points, shares, strict=True))
        stroke = f'fill="none" stroke="{colour}" stroke-width="2.5" stroke-dasharray="{dashes}"'
        parts.append(f'<polyline points="{line}" {stroke}/>')
        y = _TOP + 18 + 24 * number
        parts.append(f'<path d="M{_LEFT + 12} {y}h36" {stroke}/>')
        parts.append(f'<text x="{_LEFT + 56}" y="{y + 5}">{bands} x {rows}, {name}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _x(similarity: float) -> float:
    return round(_LEFT + (_RIGHT - _LEFT) * (similarity - _LEAST) / (1 - _LEAST), 1)


def _y(share: float) -> float:
    return round(_BOTTOM - (_BOTTOM - _TOP) * share, 1)


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")

"""Bands and rows, and the S-curve that speaks for them."""

import re
import runpy
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.errors import ConfigError
from curator.stages.dedup.lsh_parameters import LshParameters, choose_bands, mean_recall, s_curve

ROOT = Path(__file__).parents[3]
SHARES = st.floats(0.3, 0.95)


@pytest.mark.parametrize(
    ("bands", "rows", "expected"),
    [
        (14, 8, [0.211, 0.565, 0.924, 1.000]),
        (20, 13, [0.026, 0.177, 0.677, 0.997]),
        (25, 10, [0.141, 0.511, 0.942, 1.000]),
        (4, 32, [0.000, 0.000, 0.003, 0.130]),
    ],
)
def test_the_curve_of_published_settings_is_the_published_one(bands, rows, expected):
    assert s_curve(bands, rows, [0.6, 0.7, 0.8, 0.9]) == pytest.approx(expected, abs=0.001)
    assert list(LshParameters(bands, rows).probabilities()) == [0.6, 0.7, 0.8, 0.9]


def test_the_curve_begins_at_nothing_and_ends_at_certainty():
    assert s_curve(14, 8, [0, 1]) == [0, 1]


def test_the_mean_recall_is_the_mean_of_the_curve():
    for bands, rows, threshold in [(14, 8, 0.8), (1, 1, 0.0), (50, 2, 0.3)]:
        points = [threshold + (1 - threshold) * (step + 0.5) / 20_000 for step in range(20_000)]
        mean = sum(s_curve(bands, rows, points)) / len(points)
        assert mean_recall(bands, rows, threshold) == pytest.approx(mean, abs=1e-6)


@settings(deadline=None)
@given(SHARES, SHARES, st.integers(1, 60))
def test_what_is_chosen_is_the_most_rows_and_then_the_fewest_bands(threshold, recall, max_hashes):
    allowed = {
        (bands, rows): mean_recall(bands, rows, threshold)
        for rows in range(1, max_hashes + 1)
        for bands in range(1, max_hashes // rows + 1)
        if s_curve(bands, rows, [1.0])[0] >= recall and mean_recall(bands, rows, threshold) >= recall
    }
    if not allowed:
        with pytest.raises(ConfigError, match="the most is"):
            choose_bands(threshold, recall, max_hashes=max_hashes)
        return
    rows = max(each[1] for each in allowed)
    bands = min(each[0] for each in allowed if each[1] == rows)
    assert choose_bands(threshold, recall, max_hashes=max_hashes) == LshParameters(bands, rows)


def test_explicit_numbers_win():
    assert choose_bands(0.8, bands=3, rows=50) == LshParameters(3, 50)
    assert choose_bands(0.8, rows=4).rows == 4
    assert choose_bands(0.8, bands=9).bands == 9
    assert choose_bands(0.8, rows=4).recall(0.8) >= 0.99 <= choose_bands(0.8, bands=9).recall(0.8)


def test_a_higher_threshold_needs_a_steeper_curve():
    rows = [choose_bands(threshold).rows for threshold in (0.5, 0.6, 0.7, 0.8, 0.9)]
    assert rows == sorted(set(rows))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"threshold": 0}, r"fuzzy\.threshold=0: must be"),
        ({"threshold": 1.2}, r"fuzzy\.threshold=1\.2: must be"),
        ({"threshold": "high"}, r"fuzzy\.threshold='high': must be"),
        ({"threshold": 0.8, "recall": 1}, r"fuzzy\.recall=1: must be"),
        ({"threshold": 0.8, "bands": 0}, r"fuzzy\.bands=0: must be"),
        ({"threshold": 0.8, "rows": True}, r"fuzzy\.rows=True: must be"),
        ({"threshold": 0.8, "max_hashes": 1.5}, r"fuzzy\.max_hashes=1\.5: must be"),
        ({"threshold": 0.8, "rows": 30}, r"fuzzy\.rows=30; the most is 0\.\d+"),
        ({"threshold": 0.8, "max_hashes": None}, r"fuzzy\.max_hashes=None: must be"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_type(options, complaint):
    with pytest.raises(ConfigError, match=complaint):
        choose_bands(**options)


def test_all_mistakes_are_reported_at_once():
    with pytest.raises(ConfigError) as error:
        choose_bands(2, 2, max_hashes=0)
    assert len(error.value.problems) == 3


def test_the_picture_of_the_page_is_what_the_script_draws():
    script = runpy.run_path(str(ROOT / "scripts" / "draw_s_curve.py"))
    assert script["PICTURE"].read_text(encoding="utf-8") == script["draw"](), "type: python scripts/draw_s_curve.py"
    page = (ROOT / "docs" / "fuzzy.md").read_text(encoding="utf-8")
    assert f"]({script['PICTURE'].name})" in page
    for bands, rows, name in script["curves"]():
        assert re.search(rf"^\| {bands} x {rows} \| `{re.escape(name.partition(',')[0])}`", page, re.MULTILINE)


def test_the_table_of_the_page_says_what_is_found():
    page = (ROOT / "docs" / "fuzzy.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) x (\d+) \| .*? \| (.* %) \|$", page, re.MULTILINE)
    assert len(rows) == 5
    for bands, per_band, shares in rows:
        expected = [f"{100 * share:.1f} %" for share in s_curve(int(bands), int(per_band), [0.6, 0.7, 0.8, 0.9])]
        assert shares.split(" | ") == expected


def test_a_curve_is_drawn_from_nothing_to_certainty():
    assert LshParameters(1, 50).drawn() == "▁" * 20 + LshParameters(1, 50).drawn()[20:]
    assert LshParameters(50, 1).drawn() == "█" * 25
    assert len(LshParameters(14, 8).drawn()) == 25

"""The comparison of a sweep: what differs, beside what became of the documents; real outputs, read from their files."""

import csv
import io
import json

import pytest

from curator import ExactDeduplication, LocalExecutor, Pipeline, Read, Write
from curator.report.comparison import OBJECTIVES, SweepPoint, compare, measure

# By 'keep' one of the two equal texts goes; with case 'lower' two more.
TEXTS = ["one", "One", "two", "one", "Two", "three"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("sweep")


@pytest.fixture(scope="module")
def run(folder):
    source = folder / "in.jsonl"
    records = [json.dumps({"id": str(row), "text": text}) for row, text in enumerate(TEXTS)]
    source.write_text("\n".join([*records[:3], "broken", *records[3:]]) + "\n")
    (folder / "other.jsonl").write_text(records[0] + "\n")

    def run(name, *, read=source, split_bytes=None, **settings):
        output = folder / name / "output"
        stages = [Read(str(read), split_bytes=split_bytes), ExactDeduplication(**settings), Write(output)]
        Pipeline(stages).run(LocalExecutor(), show_progress=False)
        typed = {"stages.exact.case": settings.get("case", "keep"), "executor": "local"}
        return SweepPoint(name, folder / name, typed, output)

    return run


@pytest.fixture(scope="module")
def points(run, folder):
    return [
        run("plain"),
        run("lower", case="lower"),
        run("cut", split_bytes=40),
        run("else", read=folder / "other.jsonl"),
        SweepPoint(
            "bad", folder / "bad", {"stages.exact.case": "=no()"}, None, 2, "no such case", folder / "bad" / "x"
        ),
    ]


def test_an_output_is_measured_from_its_own_files(points):
    found = measure(points[1].output_path)
    assert found.counts == {"read": 7, "kept": 3, "removed": 3, "quarantined": 1}
    assert found.removed == {"exact_duplicate": 3}
    assert found.quarantined == {"json_parse": 1}
    assert found.seconds > 0
    assert found.read_bytes == (points[1].directory.parent / "in.jsonl").stat().st_size


def test_every_objective_is_a_number_and_shares_are_of_what_was_read(points):
    found = measure(points[1].output_path)
    numbers = {name: found.objective(name) for name in OBJECTIVES}
    assert all(isinstance(number, float) for number in numbers.values())
    assert numbers["kept_share"] == 3 / 7
    assert numbers["removed_share"] == 3 / 7
    assert numbers["quarantined_share"] == 1 / 7
    assert numbers["mb_per_s"] == pytest.approx(found.read_bytes / 1e6 / found.seconds)


def test_the_objectives_are_those_that_a_config_may_name():
    from typing import get_args

    from curator.config.schema import Objective

    assert get_args(Objective) == OBJECTIVES


def test_overlaps_are_those_of_the_sets_of_documents_also_when_the_input_was_cut_otherwise(points):
    kept, removed = (getattr(compare(points[:3]), f"{kind}_overlap") for kind in ("kept", "removed"))
    # Kept: rows 0, 1, 2, 4, 5 of the texts against rows 0, 2, 5. Removed: 3 against 1, 3, 4.
    assert kept == [[1.0, 0.6, 1.0], [0.6, 1.0, 0.6], [1.0, 0.6, 1.0]]
    assert removed == [[1.0, 0.333333, 1.0], [0.333333, 1.0, 0.333333], [1.0, 0.333333, 1.0]]


def test_nothing_is_compared_across_inputs_or_with_a_point_that_failed(points):
    kept = compare(points).kept_overlap
    assert kept[0][3] is kept[3][0] is kept[0][4] is kept[4][4] is None
    assert kept[3][3] == 1.0


def test_settings_that_are_the_same_everywhere_are_left_out(points):
    assert compare(points[:3]).keys == ["stages.exact.case"]
    assert compare(points).keys == ["stages.exact.case", "executor"]


def test_csv_has_a_row_for_each_point_and_no_formula(points):
    rows = list(csv.DictReader(io.StringIO(compare(points, "kept_share").to_csv())))
    assert [row["point"] for row in rows] == ["plain", "lower", "cut", "else", "bad"]
    assert [row["kept"] for row in rows] == ["5", "3", "5", "1", ""]
    assert [row["removed.exact_duplicate"] for row in rows] == ["1", "3", "1", "0", ""]
    assert [row["exit_code"] for row in rows] == ["0", "0", "0", "0", "2"]
    assert [row["kept_overlap.plain"] for row in rows] == ["1.0", "0.6", "1.0", "", ""]
    assert float(rows[1]["objective"]) == 3 / 7
    assert rows[4]["stages.exact.case"] == "'=no()"
    assert rows[4]["reason"] == "no such case"


def test_json_holds_everything_as_numbers(points):
    content = json.loads(compare(points, "removed").to_json())
    assert content["objective"] == "removed"
    assert [point["objective"] for point in content["points"]] == [1.0, 3.0, 1.0, 0.0, None]
    assert content["points"][4]["log"].endswith("x")
    assert content["removed_overlap"][0][:3] == [1.0, 0.333333, 1.0]


def test_the_table_shows_what_differs_and_what_failed(points):
    lines = compare(points).table().splitlines()
    assert "case" in lines[0]
    assert "as 1" in lines[0]
    assert "as 5" not in lines[0]
    (lower,) = [line for line in lines if "lower" in line and "exact_duplicate" in line]
    assert "exact_duplicate 3" in lower
    assert "0.600" in lower
    assert any("failed, 2" in line for line in lines)
    assert lines[-1] == "5   bad"


def test_a_failure_is_named_with_its_reason_and_its_log(points):
    (failure,) = compare(points).failures()
    assert failure == f"bad failed with exit code 2: no such case\n  Its log: {points[4].log}"


def test_a_point_that_is_there_twice_is_one_row(points):
    assert [point.name for point in compare([points[0], points[1], points[0]]).points] == ["plain", "lower"]


def test_overlaps_beyond_a_memory_bound_are_unknown(points, monkeypatch):
    monkeypatch.setattr("curator.report.comparison.MOST_DOCUMENTS", 3)
    assert compare(points[:2]).kept_overlap == [[None, None], [None, None]]

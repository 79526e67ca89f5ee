"""What identifies a stage: its settings as JSON values, or a mistake that is told before any work is done."""

import enum
import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from curator import ConfigError, ExactDeduplication, LocalExecutor, Pipeline, ProcessingStage, Read, Write
from curator.stages.identity import json_settings


class Colour(enum.Enum):
    RED = frozenset(("r", "a"))


class Level(enum.IntEnum):
    LOW = 1


@dataclass(frozen=True)
class Limits:
    least: int
    folder: Path


class Holds(ProcessingStage):
    name = "holds"

    def __init__(self, **settings):
        vars(self).update(settings)

    def process(self, batch):
        return batch

    @staticmethod
    def keep(text):
        return bool(text)


def test_settings_become_values_of_json():
    stage = Holds(
        path=PurePosixPath("/a/b"),
        limits=Limits(3, Path("c")),
        words={"b", "a"},
        numbers=(1, np.float32(0.5), np.int64(7), None, True),
        colour=Colour.RED,
        level=Level.LOW,
        kind=Holds,
        keep=Holds.keep,
        nested={"x": [{"y": Path("z")}], 2: "two", Path("p"): None},
        _hidden=object(),
    )
    made = json_settings(stage)
    assert made == json.loads(json.dumps(made))
    assert made == {
        "path": "/a/b",
        "limits": {"least": 3, "folder": "c"},
        "words": ["a", "b"],
        "numbers": [1, 0.5, 7, None, True],
        "colour": ["a", "r"],
        "level": 1,
        "kind": f"{__name__}.Holds",
        "keep": f"{__name__}.Holds.keep",
        "nested": {"x": [{"y": "z"}], "2": "two", "p": None},
    }


def test_two_lambdas_are_two_things():
    first, second = (
        lambda text: text,
        lambda text: text.lower(),
    )
    assert json_settings(Holds(keep=first)) != json_settings(Holds(keep=second))


@pytest.mark.parametrize(
    "value", [object(), [object()], {"x": np.zeros(2)}, b"bytes", iter(()), {(1, 2): 3}, Holds().process]
)
def test_a_setting_that_says_nothing_about_itself_is_refused_before_any_work(value, tmp_path):
    corpus = tmp_path / "in.jsonl"
    corpus.write_bytes(b'{"id": "1", "text": "a"}\n')
    stages = [Read(str(corpus)), Holds(model=value, other=value), ExactDeduplication(), Write(tmp_path / "out")]
    with pytest.raises(ConfigError) as raised:
        Pipeline(stages).run(LocalExecutor(), show_progress=False)
    assert [problem.partition(" type")[0] for problem in raised.value.problems] == [
        "stages.holds.model: a value of",
        "stages.holds.other: a value of",
    ]
    assert not (tmp_path / "out").exists()


def test_a_stage_of_ones_own_may_be_given_a_path(tmp_path):
    corpus = tmp_path / "in.jsonl"
    corpus.write_bytes(b'{"id": "1", "text": "a"}\n')
    stages = [Read(str(corpus)), Holds(words=tmp_path / "words.txt"), ExactDeduplication(), Write(tmp_path / "out")]
    assert Pipeline(stages).run(LocalExecutor(), show_progress=False).counts["kept"] == 1
    manifest = json.loads((tmp_path / "out" / "_curator" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["stages"][1]["settings"] == {"words": str(tmp_path / "words.txt")}

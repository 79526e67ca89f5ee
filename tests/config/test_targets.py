"""The gate, by what it lets through and what it refuses; canaries show that refusing comes before importing."""

import sys
from abc import ABC, abstractmethod
from pathlib import Path

import pytest

from curator.config.targets import check_hydra_targets, check_targets, resolve_target
from curator.errors import ConfigError, StageError

TRUSTED = ("canary_inside.",)


class Slot(ABC):
    """What the slots of these tests hold."""

    @abstractmethod
    def act(self): ...


INSIDE = """
import os
from os import system
from pathlib import Path
from subprocess import Popen as Innocent
import canary_outside
from canary_outside import Good as Borrowed
from test_targets_slot import Slot

class Good(Slot):
    def act(self): ...
    class Inner(Slot):
        def act(self): ...

class Unfinished(Slot): ...
class Other: ...
class Liar(canary_outside.Good): ...
Masked = type("Masked", (Slot,), {"act": lambda self: None, "__module__": "canary_inside", "__qualname__": "Good"})
def make_good(): return Good()
value = 3
"""
OUTSIDE = """
from pathlib import Path
from test_targets_slot import Slot
Path(__file__).with_suffix(".imported").touch()

class Good(Slot):
    def act(self): ...
"""


@pytest.fixture
def canaries(tmp_path, monkeypatch):
    (tmp_path / "canary_inside.py").write_text(INSIDE)
    (tmp_path / "canary_outside.py").write_text(OUTSIDE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, "test_targets_slot", sys.modules[__name__])
    yield tmp_path
    for name in ("canary_inside", "canary_outside"):
        sys.modules.pop(name, None)


def refusal(target: object, base: type | None = Slot) -> str:
    with pytest.raises(ConfigError) as caught:
        resolve_target(target, "stages.x._target_", base, TRUSTED)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith("stages.x._target_: ")
    return caught.value.problems[0]


def test_a_class_of_a_trusted_package_that_the_slot_holds_passes(canaries):
    assert resolve_target("canary_inside.Good", "x", Slot, TRUSTED).__name__ == "Good"


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.open",
        "builtins.eval",
        "subprocess.Popen",
        "canary_outside.Good",
        "canary_insider.Good",
        "canary_inside_evil.Good",
        "hydra.utils.get_method",
        "functools.partial",
        "__main__.Good",
    ],
)
def test_a_name_outside_the_trusted_packages_is_refused(canaries, target):
    assert "lies outside the trusted packages ('canary_inside.',)." in refusal(target)


def test_a_module_outside_the_trusted_packages_is_not_even_imported(canaries):
    refusal("canary_outside.Good")
    assert "canary_outside" not in sys.modules
    assert not (canaries / "canary_outside.imported").exists()


@pytest.mark.parametrize(
    ("target", "own_name"),
    [
        ("canary_inside.system", "posix.system"),
        ("canary_inside.Path", "pathlib.Path"),
        ("canary_inside.Innocent", "subprocess.Popen"),
        ("canary_inside.Borrowed", "canary_outside.Good"),
        ("canary_inside.Slot", f"{__name__}.Slot"),
    ],
)
def test_an_alias_of_something_outside_is_refused_by_its_own_name(canaries, target, own_name):
    text = refusal(target)
    assert f"is an alias of '{own_name}', which lies outside the trusted packages" in text


def test_a_class_that_claims_a_name_it_is_not_found_under_is_refused(canaries):
    assert "is an alias of 'canary_inside.Good'" in refusal("canary_inside.Masked")


@pytest.mark.parametrize(
    "target",
    [
        "canary_inside.os.system",
        "canary_inside.canary_outside.Good",
        "canary_inside.Good.Inner",
        "canary_inside.Good.__class__",
        "canary_inside.Good.act.__globals__",
    ],
)
def test_attributes_of_attributes_are_never_followed(canaries, target):
    assert "there is no module" in refusal(target)


@pytest.mark.parametrize(
    "target",
    ["canary_inside.make_good", "canary_inside.Unfinished", "canary_inside.Other", "canary_inside.value"],
)
def test_what_the_slot_does_not_hold_is_refused(canaries, target):
    assert "is not a Slot that can be built" in refusal(target)


@pytest.mark.parametrize(
    "target",
    [None, 3, [], {"a": 1}, "", "Good", "canary_inside.", ".canary_inside.Good", "canary_inside..Good",
     "canary_inside.Good()", "canary_inside. Good", "canary_inside.\uff27ood", "canary_inside\n.Good"],
)  # fmt: skip
def test_a_target_that_is_no_dotted_name_is_refused(canaries, target):
    assert "is no name of a class" in refusal(target)


def test_a_place_that_holds_no_object_refuses_even_trusted_classes(canaries):
    assert "nothing is built at this place" in refusal("canary_inside.Good", None)


def test_a_misspelt_class_names_the_nearest_one(canaries):
    assert "Did you mean 'Good'?" in refusal("canary_inside.Goud")


def test_a_misspelt_module_names_the_nearest_one():
    with pytest.raises(ConfigError, match=r"Did you mean 'curator\.errors'\?"):
        resolve_target("curator.erors.StageError", "x", Exception)


def test_a_module_that_needs_something_not_installed_says_what(canaries):
    (canaries / "canary_inside.py").write_text("import no_such_package_anywhere\n")
    assert "needs the module 'no_such_package_anywhere', which is not installed" in refusal("canary_inside.Good")


def test_every_target_is_found_at_any_depth_and_in_lists():
    bad = {"_target_": "os.system", "command": "true"}
    config = {
        "executor": bad,
        "stages": {"a": {"steps": [1, [bad]], "x": {"y": {"z": bad}}}, "b": bad},
        "runtime_env": {"env_vars": bad},
        "input_path": [bad],
    }
    problems = check_targets(config, lambda path: Exception)
    assert [problem.partition(":")[0] for problem in problems] == [
        "executor._target_",
        "stages.a.steps.1.0._target_",
        "stages.a.x.y.z._target_",
        "stages.b._target_",
        "runtime_env.env_vars._target_",
        "input_path.0._target_",
    ]
    assert all("'os.system' lies outside the trusted packages" in problem for problem in problems)


@pytest.mark.parametrize("key", ["_args_", "_partial_", "_convert_", "_recursive_"])
def test_other_words_of_hydra_are_refused_with_or_without_a_target(key):
    with_target = {"a": {"_target_": "curator.errors.StageError", key: True}}
    for config in (with_target, {"a": [{key: []}]}):
        problems = check_targets(config, lambda path: StageError)
        assert len(problems) == 1
        assert f"{key}: is not allowed" in problems[0]


def test_a_config_without_targets_has_no_problems():
    assert check_targets({"a": [1, {"b": None}], "c": "os.system"}, lambda path: None) == []


@pytest.mark.parametrize(
    ("section", "allowed"),
    [
        ({"launcher": {"_target_": "hydra._internal.core_plugins.basic_launcher.BasicLauncher"}}, True),
        ({"callbacks": {"x": {"_target_": "os.system"}}}, False),
        ({"callbacks": {"x": {"_target_": "hydra.utils.get_method", "path": "os.system"}}}, False),
        ({"launcher": {"_target_": "hydra._internal.utils.os.system"}}, False),
        ({"sweeper": {"params": [{"_target_": "subprocess.Popen"}]}}, False),
    ],
)
def test_hydra_builds_only_classes_of_its_own(section, allowed):
    assert (check_hydra_targets(section) == []) is allowed


def test_the_gate_trusts_curator_alone():
    from curator.config import targets

    assert targets.TRUSTED_PACKAGES == ("curator.",)


def test_an_alias_within_curator_is_refused_as_what_it_is():
    assert Path.__module__.startswith("pathlib")
    with pytest.raises(ConfigError, match=r"is an alias of 'pathlib\.\S*Path', which lies outside"):
        resolve_target("curator.config.conf_dir.Path", "stages.x._target_", object)

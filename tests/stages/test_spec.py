import pytest

from curator import ConfigError
from curator.stages.spec import RayStageSpec, RayStageSpecKeys, read_ray_stage_spec


def test_the_keys_are_the_texts_that_a_stage_writes():
    assert sorted(RayStageSpecKeys) == sorted(RayStageSpec.__dataclass_fields__)
    assert RayStageSpecKeys.IS_SHUFFLE_STAGE == "is_shuffle_stage"


def test_hints_may_be_keyed_by_text_or_by_the_enum_and_null_is_the_same_as_nothing():
    spec = {RayStageSpecKeys.IS_ACTOR_STAGE: True, "max_workers": 3, "min_workers": None, "ray_remote_args": None}
    assert read_ray_stage_spec("embed", spec) == RayStageSpec(is_actor_stage=True, max_workers=3)
    assert read_ray_stage_spec("embed", {}) == RayStageSpec()


def test_every_mistake_is_in_one_message_with_the_nearest_key():
    spec = {"is_actr_stage": True, "max_wrokers": 2, "is_raft_actor": 1, "min_workers": 0, "max_calls_per_worker": True}
    with pytest.raises(ConfigError) as raised:
        read_ray_stage_spec("embed", spec)
    assert len(raised.value.problems) == 5
    message = str(raised.value)
    assert "embed: ray_stage_spec.is_actr_stage: there is no such key. Did you mean 'is_actor_stage'?" in message
    assert "embed: ray_stage_spec.max_wrokers: there is no such key. Did you mean 'max_workers'?" in message
    assert "embed: ray_stage_spec.is_raft_actor=1: must be true or false." in message
    assert "embed: ray_stage_spec.min_workers=0: must be a whole number of at least 1." in message
    assert "embed: ray_stage_spec.max_calls_per_worker=True: must be a whole number of at least 1." in message


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"min_workers": 3, "max_workers": 2}, r"min_workers=3: must not be above ray_stage_spec\.max_workers=2"),
        ({"initial_workers": 3, "max_workers": 2}, r"initial_workers=3: must not be above"),
        ({"min_workers": 3, "initial_workers": 2}, r"min_workers=3: must not be above .*initial_workers=2"),
        ({"is_raft_actor": True, "is_shuffle_stage": True}, r"is_raft_actor: cannot be set together with is_shuffle"),
        ({"is_actor_stage": False, "is_lsh_stage": True}, r"is_actor_stage=False: is_lsh_stage needs actors"),
        ({"ray_remote_args": [1]}, r"ray_remote_args=\[1\]: must be a mapping"),
        ({"ray_remote_args": {1: 2}}, r"ray_remote_args=\{1: 2\}: must be a mapping of option names"),
        ({1: 2}, r"ray_stage_spec\.1: there is no such key"),
        (["is_actor_stage"], r"returned \['is_actor_stage'\]: must be a mapping"),
    ],
)
def test_hints_that_make_no_sense_are_refused(spec, message):
    with pytest.raises(ConfigError, match=rf"^embed: .*{message}"):
        read_ray_stage_spec("embed", spec)


def test_the_options_of_a_spec_cannot_be_changed_behind_its_back():
    given = {"max_concurrency": 2}
    spec = read_ray_stage_spec("embed", {"ray_remote_args": given})
    given["max_concurrency"] = 3
    assert spec.ray_remote_args == {"max_concurrency": 2}

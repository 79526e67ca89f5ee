"""Whole runs that ask a stub: every record is accounted for, and nothing is asked twice."""

import json
import os
import subprocess
import sys
import threading
import time

import pyarrow.parquet as pq
import pytest

from curator import ConfigError, StageError, verify_output
from curator.stages.text.llm import AskModel
from tests.stages.text.asking_runs import ANSWER, Replicas, ask_model, output_bytes, run, write_corpus
from tests.stages.text.stub_server import completion, free_port, serving, well_behaved

SPECIAL = {3: "broken", 10: "refused", 11: "refused", 17: "failing", 20: "cut", 25: "dropped"}


def troublesome(server, prompt, count):
    """Misbehaves by the first word of the text."""
    word = prompt.removeprefix("Judge: ").partition(" ")[0]
    if word == "broken":
        return "I would give it a four."
    if word == "cut":
        return 200, completion('{"score": 4, "rea', "length"), {}
    if word == "late":
        time.sleep(9)
    if word == "refused":
        return 400, {"error": {"message": "maximum context length is 10 tokens"}}, {}
    if word == "failing":
        return 500, {"error": {"message": "oops"}}, {}
    return None if word == "dropped" else well_behaved(server, prompt, count)


def stage_counts(result, name):
    (stage,) = [stage for stage in result.stages if stage["name"] == name]
    return stage


def test_documents_are_scored_kept_and_written_with_their_score(tmp_path):
    corpus = write_corpus(tmp_path / "in", 30)
    with serving() as server:
        result = run(corpus, tmp_path / "out", ask_model(server.url, tmp_path / "answers"))
    assert result.counts == {"read": 30, "kept": 15, "removed": 15, "quarantined": 0}
    first = (tmp_path / "out" / "part-00000.jsonl").read_text().splitlines()
    assert first[0] == '{"id": "d3", "text": "a text, number 3", "score": 3}'
    ledger = result.ledger().to_pylist()
    assert [(row["id"], row["score"]) for row in ledger[:4]] == [("d0", 0.0), ("d1", 1.0), ("d2", 2.0), ("d6", 0.0)]
    assert {(row["stage"], row["reason"]) for row in ledger} == {("keep_above", "below_threshold")}
    assert verify_output(result.output_path).problems == []


def test_what_is_asked_is_the_prompt_with_parameters_that_make_answers_repeatable(tmp_path):
    with serving() as server:
        ask = ask_model(server.url, None, system="You judge.", extra={"top_k": 1}, max_tokens=9)
        run(write_corpus(tmp_path / "in", 1), tmp_path / "out", ask)
        (body,) = server.bodies
    assert body["messages"] == [
        {"role": "system", "content": "You judge."},
        {"role": "user", "content": "Judge: a text, number 0"},
    ]
    assert (body["temperature"], body["seed"], body["max_tokens"], body["top_k"]) == (0.0, 0, 9, 1)
    assert body["response_format"]["json_schema"]["schema"]["required"] == ["score", "reason"]


@pytest.fixture
def troubled(tmp_path):
    with serving(troublesome) as server:
        yield write_corpus(tmp_path / "in", 30, SPECIAL), server


def test_what_gets_no_answer_goes_to_the_quarantine_with_the_reason_and_nothing_is_lost(troubled, tmp_path):
    corpus, server = troubled
    result = run(corpus, tmp_path / "out", ask_model(server.url, tmp_path / "answers"))
    assert result.counts == {"read": 30, "kept": 11, "removed": 13, "quarantined": 6}
    assert stage_counts(result, "judge")["quarantined"] == {"broken_answer": 2, "no_answer": 4}
    rows = [(row["row"], row["stage"], row["reason"], row["detail"]) for row in result.quarantine().to_pylist()]
    assert [row[1:3] for row in rows] == [
        ("judge", "broken_answer"),
        ("judge", "no_answer"),
        ("judge", "no_answer"),
        ("judge", "no_answer"),
        ("judge", "broken_answer"),
        ("judge", "no_answer"),
    ]
    details = [row[3] for row in rows]
    assert details[:4] == [
        "no JSON object in 'I would give it a four.'",
        "HTTP 400: maximum context length is 10 tokens",
        "HTTP 400: maximum context length is 10 tokens",
        "HTTP 500: oops",
    ]
    assert details[4].endswith(", cut off at max_tokens")
    assert details[5].startswith("the connection broke")
    assert verify_output(result.output_path).problems == []


def test_a_document_on_which_the_server_hangs_costs_its_deadline_and_nothing_else(tmp_path):
    corpus = write_corpus(tmp_path / "in", 8, {3: "late"})
    with serving(troublesome) as server:
        result = run(corpus, tmp_path / "out", ask_model(server.url, None, deadline_s=4.0, attempts=1))
    assert result.counts == {"read": 8, "kept": 2, "removed": 5, "quarantined": 1}
    assert result.quarantine()["detail"].to_pylist() == ["no answer within 4 s"]


def test_a_broken_answer_is_asked_for_again_with_another_seed_and_some_temperature(tmp_path):
    def second_time_lucky(server, prompt, count):
        return "hm" if count == 1 else well_behaved(server, prompt, count)

    with serving(second_time_lucky) as server:
        result = run(write_corpus(tmp_path / "in", 4), tmp_path / "out", ask_model(server.url, tmp_path / "answers"))
        assert result.counts["quarantined"] == 0
        assert sorted((body["seed"], body["temperature"]) for body in server.bodies) == [(0, 0.0)] * 4 + [(1, 0.5)] * 4
        server.forget()
        again = run(tmp_path / "in", tmp_path / "again", ask_model(server.url, tmp_path / "answers"))
        assert server.requests == 0
    assert output_bytes(result.output_path) == output_bytes(again.output_path)


@pytest.mark.parametrize(
    ("on_broken", "counts"),
    [
        ("remove", {"read": 30, "kept": 11, "removed": 15, "quarantined": 4}),
        ('default:{"score": 5, "reason": ""}', {"read": 30, "kept": 13, "removed": 13, "quarantined": 4}),
    ],
    ids=["remove", "default"],
)
def test_broken_answers_go_where_the_option_says(troubled, tmp_path, on_broken, counts):
    corpus, server = troubled
    result = run(corpus, tmp_path / "out", ask_model(server.url, None, on_broken=on_broken))
    assert result.counts == counts
    broken = [row["id"] for row in result.ledger().to_pylist() if row["reason"] == "broken_answer"]
    assert broken == (["d3", "d20"] if on_broken == "remove" else [])


def test_a_model_that_never_answers_as_asked_is_no_reason_to_stop_when_broken_answers_are_removed(tmp_path):
    with serving(lambda *_: "garbage") as server:
        ask = ask_model(server.url, None, on_broken="remove")
        result = run(write_corpus(tmp_path / "in", 12), tmp_path / "out", ask)
        assert result.counts == {"read": 12, "kept": 0, "removed": 12, "quarantined": 0}
        with pytest.raises(StageError, match=r"could take none of the 12 documents .*: broken_answer 12"):
            run(tmp_path / "in", tmp_path / "other", ask_model(server.url, None))


def test_a_second_run_asks_nothing_and_gives_the_same_bytes(tmp_path):
    corpus = write_corpus(tmp_path / "in", 40, {3: "broken"})
    with serving(troublesome) as server:
        first = run(corpus, tmp_path / "out", ask_model(server.url, tmp_path / "answers"))
        server.forget()
        second = run(corpus, tmp_path / "again", ask_model(server.url, tmp_path / "answers"))
        assert server.requests == 0
        third = run(corpus, tmp_path / "third", ask_model(server.url, tmp_path / "answers", revision="a2"))
        assert server.requests == 41
    assert output_bytes(first.output_path) == output_bytes(second.output_path) == output_bytes(third.output_path)
    assert stage_counts(second, "judge")["replicas"]["cache"]["requests"] == 41


@pytest.mark.parametrize("option", [{"temperature": 0.1}, {"seed": 1}, {"max_tokens": 9}, {"extra": {"top_p": 0.5}}])
def test_another_parameter_is_another_question(tmp_path, option):
    corpus = write_corpus(tmp_path / "in", 4)
    with serving() as server:
        run(corpus, tmp_path / "out", ask_model(server.url, tmp_path / "answers"))
        run(corpus, tmp_path / "again", ask_model(server.url, tmp_path / "answers", **option))
        assert server.requests == 8


def test_requests_tokens_errors_and_seconds_of_each_replica_are_in_the_report(troubled, tmp_path):
    corpus, server = troubled
    result = run(corpus, tmp_path / "out", ask_model(server.url, None))
    used = json.loads((result.output_path / "_curator" / "run.json").read_text())["stages"][1]["replicas"]["endpoint"]
    assert used["requests"] == server.requests == 24 + 2 * 2 + 2 * 1 + 2 * 2
    assert used["errors"] == 6
    assert used["prompt_tokens"] == 28 * 10
    assert used["seconds"] > 0
    rows = [line.split() for line in result.report.splitlines()]
    assert ["judge", "endpoint", "34", "6", "280", "84"] in [row[:6] for row in rows]


def test_a_killed_run_that_is_repeated_asks_only_what_was_not_answered(tmp_path):
    corpus = write_corpus(tmp_path / "in", 120)
    enough = threading.Event()

    def behave(server, prompt, count):
        if len(server.answered) >= 40:
            enough.set()
        return well_behaved(server, prompt, count)

    with serving(behave, seconds=0.03) as server:
        command = [
            sys.executable,
            "-m",
            "tests.stages.text.asking_runs",
            str(corpus),
            str(tmp_path / "out"),
            server.url,
        ]
        process = subprocess.Popen([*command, str(tmp_path / "answers")], stderr=subprocess.DEVNULL)
        assert enough.wait(120)
        process.kill()
        process.wait(30)
        assert not (tmp_path / "out").exists()
        time.sleep(0.2)
        answered = set(server.answered)
        assert 40 <= len(answered) < 120
        server.forget()
        result = run(corpus, tmp_path / "out", ask_model(server.url, tmp_path / "answers"))
        asked = [body["messages"][-1]["content"] for body in server.bodies]
    assert result.counts == {"read": 120, "kept": 60, "removed": 60, "quarantined": 0}
    assert len(asked) == len(set(asked))
    assert len(answered & set(asked)) <= 8  # what was on its way when the process was killed
    assert len(asked) <= 120 - len(answered) + 8


@pytest.mark.ray
def test_a_run_on_ray_gives_the_same_bytes_and_accounts_from_two_replicas(tmp_path, ray_address):
    from curator import RayActorPoolExecutor

    corpus = write_corpus(tmp_path / "in", 60, {3: "broken", 11: "refused", 17: "failing"})
    with serving(troublesome) as first, serving(troublesome) as second:
        ask = ask_model(None, None).with_(source=Replicas(first.url, second.url))
        local = run(corpus, tmp_path / "local", ask)
        ray = run(
            corpus,
            tmp_path / "ray",
            ask.with_(cache_path=str(tmp_path / "answers")),
            RayActorPoolExecutor({"address": ray_address, "num_workers": 2}),
        )
        used = stage_counts(ray, "judge")["replicas"]
        asked = first.requests + second.requests
    assert local.counts == ray.counts
    assert local.counts["quarantined"] == 3
    assert output_bytes(local.output_path) == output_bytes(ray.output_path)
    assert local.quarantine().equals(ray.quarantine())
    assert local.ledger().equals(ray.ledger())
    assert set(used) == {"judge-0", "judge-1"}
    assert used["judge-0"]["requests"] + used["judge-1"]["requests"] == asked // 2


def test_nobody_to_ask_is_said_with_what_to_type(tmp_path):
    with pytest.raises(ConfigError, match=r"stages.judge: there is nobody to ask. Choose a set of replicas"):
        run(write_corpus(tmp_path / "in", 2), tmp_path / "out", ask_model(None, None))


def test_a_server_that_is_not_there_ends_the_run_in_bounded_time_and_publishes_nothing(tmp_path):
    url = f"http://127.0.0.1:{free_port()}/v1"
    with pytest.raises(StageError, match="no replica has answered for 1 s"):
        run(write_corpus(tmp_path / "in", 4), tmp_path / "out", ask_model(url, None, unavailable_s=1.0))
    assert not (tmp_path / "out").exists()


def test_a_key_comes_from_its_file_and_is_shown_nowhere(tmp_path):
    (tmp_path / "key").write_text("sesame-sesame\n")
    with serving() as server:
        ask = ask_model(server.url, None, api_key=f"file:{tmp_path / 'key'}")
        result = run(write_corpus(tmp_path / "in", 2), tmp_path / "out", ask)
        assert set(server.keys) == {"Bearer sesame-sesame"}
    said = [path.read_bytes() for path in result.output_path.rglob("*") if path.is_file()]
    assert not any(b"sesame" in content for content in said)
    clear = ask_model(server.url, None, api_key="sesame-sesame")
    assert "sesame" not in repr(vars(clear)) + str(clear.settings())
    with pytest.raises(ConfigError, match=r"stages.judge.api_key: .* cannot be read"):
        run(tmp_path / "in", tmp_path / "other", ask_model(server.url, None, api_key=f"file:{tmp_path / 'none'}"))


def test_parquet_gets_typed_columns(tmp_path):
    import pyarrow as pa

    (tmp_path / "in").mkdir()
    pq.write_table(pa.table({"text": [f"number {i}" for i in range(12)]}), tmp_path / "in" / "a.parquet")
    with serving() as server:
        run(tmp_path / "in", tmp_path / "out", ask_model(server.url, None))
    table = pq.read_table(tmp_path / "out" / "part-00000.parquet")
    assert table.schema.field("score").type == pa.int64()
    assert table["score"].to_pylist() == [3, 4, 5, 3, 4, 5]


def test_a_stage_can_be_used_where_another_loop_runs(tmp_path):
    import asyncio

    async def main():
        return run(write_corpus(tmp_path / "in", 4), tmp_path / "out", ask_model(server.url, None))

    with serving() as server:
        assert asyncio.run(main()).counts["read"] == 4


def test_what_decides_answers_is_in_the_settings_and_what_only_decides_speed_is_not():
    def settings(**options):
        return AskModel("{text}", ANSWER, **options).settings()

    server = {"endpoint": "http://a/v1", "model": "m", "revision": "1"}
    assert settings(**server) == settings(**{**server, "endpoint": "http://b/v1", "api_key": "k", "deadline_s": 9.0})
    assert settings(**server) == settings(**server, max_concurrency=3, cache_path=None, attempts=9)
    for option in ({"revision": "2"}, {"revision": None}, {"seed": 3}, {"on_broken": "remove"}, {"system": "x"}):
        assert settings(**server) != settings(**{**server, **option})
    json.dumps(settings(**server))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"endpoint": "localhost:8000"}, "llm.endpoint: 'localhost:8000' is no URL"),
        ({"endpoint": "http://user:word@host/v1", "model": "m"}, "Set api_key instead"),
        ({"endpoint": "http://a/v1"}, "llm.model: is missing"),
        ({"endpoint": "http://a/v1", "model": "m", "replicas": "x"}, "set it or replicas='x', not both"),
        ({"model": "m"}, "llm.model: is for an endpoint, and there is none"),
        ({"structured": "yes"}, "llm.structured: 'yes' is not known"),
        ({"on_broken": "drop"}, "Choose from: quarantine, remove, default:JSON"),
        ({"on_broken": 'default:{"score": 9, "reason": ""}'}, "'score' is 9, above 5"),
        ({"on_broken": "default:3"}, "'score' is missing"),
        ({"max_concurrency": 0}, "llm.max_concurrency=0: must be a whole number from 1 to 1,000"),
        ({"deadline_s": 0}, "llm.deadline_s=0: must be a number of seconds above 0"),
        ({"temperature": 3}, "llm.temperature=3"),
        ({"seed": -1}, "llm.seed=-1"),
        ({"extra": {"temperature": 1}}, "llm.extra.temperature: is an option of its own"),
        ({"extra": {"n": 2}}, "one answer is asked for"),
        ({"cache_path": ""}, "llm.cache_path: is empty"),
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(options, message):
    with pytest.raises(ConfigError) as caught:
        AskModel("{text}", ANSWER, **options)
    assert message in str(caught.value)
    assert "user:word" not in str(caught.value)


def test_every_mistake_is_in_one_message():
    with pytest.raises(ConfigError) as caught:
        AskModel("{x.y}", {}, seed=-1, structured="no")
    assert len(caught.value.problems) == 4


def test_importing_the_stage_imports_no_client_library():
    code = "import sys; from curator.stages.text.llm import AskModel; AskModel('{text}', {'a': 'string'})\n"
    code += "print(sorted({'openai', 'httpx', 'httpx2', 'numba', 'ray', 'torch'} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment)
    assert result.stdout == "[]\n", result.stderr

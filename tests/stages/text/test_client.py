"""How replicas are asked: evenly, within bounds, again where it helps, elsewhere when they have moved."""

import asyncio
import time

import pytest

from curator.errors import StageError
from curator.stages.runtime_env import SecretText
from curator.stages.text.client import ModelClient, NoAnswerError
from curator.stages.text.endpoints import Endpoint, FixedEndpoints
from tests.stages.text.stub_server import completion, free_port, serving, well_behaved

ASK = {"messages": [{"role": "user", "content": "number 4"}], "temperature": 0.0}


class Moving:
    """Replicas whose addresses a test changes."""

    def __init__(self, *urls):
        self.urls = list(urls)

    def endpoints(self):
        return [Endpoint(f"judge-{i}", url, "judge", "a1") for i, url in enumerate(self.urls) if url]


def fixed(*servers, key=""):
    return FixedEndpoints(
        tuple(Endpoint(f"judge-{i}", server.url, "judge", "a1", SecretText(key)) for i, server in enumerate(servers))
    )


def use(source, work, **options):
    """Run ``work(client)`` in a loop of its own, and give back what it gave and what was counted."""
    given = {"max_concurrency": 64, "deadline_s": 60.0, "attempts": 4, "unavailable_s": 60.0, **options}

    async def main():
        client = ModelClient(source, through_proxies=False, stage="llm", **given)
        try:
            return await work(client), client.take_usage()
        finally:
            await client.close()

    return asyncio.run(main())


def many(number, at_once=64):
    async def work(client):
        left = iter(range(number))

        async def ask():
            for _ in left:
                await client.ask(ASK)

        await asyncio.gather(*(ask() for _ in range(at_once)))

    return work


def once(client):
    return client.ask(ASK)


def test_64_requests_at_a_time_use_two_replicas_within_a_tenth_of_each_other():
    with serving(seconds=0.01) as first, serving(seconds=0.01) as second:
        _, usage = use(fixed(first, second), many(192))
    assert first.requests + second.requests == 192
    assert abs(first.requests - second.requests) <= 9
    assert first.most_under_way <= 33
    assert usage["judge-0"]["requests"] == first.requests
    assert usage["judge-1"]["completion_tokens"] == 3 * second.requests


def test_a_slow_replica_gets_fewer_requests_and_never_more_at_once_than_the_fast_one():
    with serving(seconds=0.002) as fast, serving(seconds=0.2) as slow:
        use(fixed(fast, slow), many(80, at_once=8))
    assert slow.requests < fast.requests
    assert slow.most_under_way <= 5


def test_no_more_requests_are_under_way_than_were_allowed_by_the_caller():
    with serving(seconds=0.02) as server:
        use(fixed(server), many(40, at_once=7))
    assert server.most_under_way <= 7


def fail_first(times, said):
    return lambda server, prompt, count: said if count <= times else well_behaved(server, prompt, count)


GARBAGE = (200, b"<html>no</html>", {"content-type": "text/html"})


@pytest.mark.parametrize(
    "said",
    [
        (500, {"error": {"message": "oops"}}, {}),
        (429, {"error": {"message": "slowly"}}, {"retry-after": "0.1"}),
        (503, b"busy", {"retry-after": "soon"}),
        GARBAGE,
        (200, b"{", {}),
        (200, b"[]", {}),
        (200, {"choices": []}, {}),
        (200, {"choices": [{"message": {"content": 7}}]}, {}),
        None,
    ],
    ids=["500", "429", "503", "html", "half", "list", "no choices", "no text", "hang-up"],
)
def test_what_may_pass_is_asked_again(said):
    with serving(fail_first(2, said)) as server:
        answer, usage = use(fixed(server), once)
    assert answer.text == '{"score": 4, "reason": "as 4"}'
    assert server.requests == 3
    assert (usage["judge-0"]["requests"], usage["judge-0"]["errors"]) == (3, 2)


@pytest.mark.parametrize(
    ("said", "detail"),
    [
        ((500, {"error": {"message": "oops"}}, {}), "HTTP 500: oops"),
        (GARBAGE, "the server's answer is no completion"),
        (None, "the connection broke"),
    ],
    ids=["500", "html", "hang-up"],
)
def test_what_does_not_pass_is_given_up_after_the_attempts_with_the_reason(said, detail):
    with serving(fail_first(99, said)) as server, pytest.raises(NoAnswerError, match=detail):
        use(fixed(server), once, attempts=3)
    assert server.requests == 3


def test_a_prompt_that_the_server_refuses_is_asked_once():
    said = (400, {"error": {"message": "maximum context length is 10 tokens"}}, {})
    with serving(fail_first(99, said)) as server, pytest.raises(NoAnswerError, match="400: maximum context length"):
        use(fixed(server), once)
    assert server.requests == 1


@pytest.mark.parametrize(("status", "words"), [(401, "api_key"), (403, "api_key"), (404, "no such model")])
def test_what_would_refuse_every_request_ends_the_run_at_once(status, words):
    said = (status, {"error": {"message": "no"}}, {})
    with serving(fail_first(99, said)) as server, pytest.raises(StageError, match=words):
        use(fixed(server), once)
    assert server.requests == 1


def test_a_request_has_a_deadline_also_when_the_server_drips():
    with serving(fail_first(1, well_behaved), seconds=0.0) as server:
        server.behave = lambda stub, prompt, count: time.sleep(6 if count == 1 else 0) or well_behaved(stub, prompt, 0)
        began = time.monotonic()
        answer, usage = use(fixed(server), once, deadline_s=1.5)
        assert time.monotonic() - began < 5.9
    assert answer.text.startswith("{")
    assert usage["judge-0"]["errors"] >= 1


def test_a_hanging_server_is_given_up_with_the_deadline_in_the_reason():
    with serving(seconds=3) as server, pytest.raises(NoAnswerError, match=r"no answer within 0.1 s"):
        use(fixed(server), once, deadline_s=0.1, attempts=2)
    assert server.requests <= 2


def test_a_busy_server_is_left_alone_for_as_long_as_it_asks():
    with serving(fail_first(1, (429, {}, {"retry-after": "1"}))) as server:
        use(fixed(server), once)
        first_s, second_s = server.times_s
    assert second_s - first_s >= 0.99


def test_a_replica_that_fails_at_once_does_not_draw_the_requests_of_the_others():
    with serving(fail_first(10**6, (500, {}, {}))) as broken, serving(seconds=0.02) as good:
        use(fixed(broken, good), many(120, at_once=8), attempts=20)
    assert good.requests == 120
    assert broken.requests < good.requests


def test_a_request_that_a_replica_failed_goes_to_another_one():
    with serving(fail_first(10**6, (500, {}, {}))) as broken, serving() as good:

        async def work(client):
            for _ in range(4):
                await client.ask(ASK)
                for replica in client._replicas.values():
                    # Its rest is over, and it has been asked the least.
                    replica.asked, replica.rests_until_s = (1000 if replica.endpoint.url == good.url else 0), 0.0

        use(fixed(broken, good), work, attempts=2)
    assert good.requests == 4
    assert 3 <= broken.requests <= 4


def test_a_replica_that_came_back_at_another_address_is_found():
    with serving() as old, serving() as new:
        source = Moving(old.url)

        async def work(client):
            await client.ask(ASK)
            old.close()
            source.urls = [new.url]
            return await client.ask(ASK)

        answer, usage = use(source, work)
    assert answer.text.startswith("{")
    assert new.requests == 1
    assert usage["judge-0"]["prompt_tokens"] == 20


def test_replicas_that_are_all_away_are_waited_for():
    source = Moving("")
    with serving() as server:

        async def work(client):
            async def come_back():
                await asyncio.sleep(0.8)
                source.urls = [server.url]

            _, answer = await asyncio.gather(come_back(), client.ask(ASK))
            return answer

        answer, _ = use(source, work)
    assert answer.text.startswith("{")


def test_what_never_reached_a_server_costs_no_attempt_and_ends_the_run_when_nobody_comes_back():
    url = f"http://127.0.0.1:{free_port()}/v1"
    with pytest.raises(StageError, match=r"no replica has answered for 1 s \(http://127.*the same command asks"):
        use(Moving(url), once, attempts=1, unavailable_s=1.0)


def test_replicas_that_all_hang_end_the_run_and_not_each_document():
    async def work(client):
        await asyncio.gather(*(client.ask(ASK) for _ in range(20)))

    with serving(seconds=2) as server, pytest.raises(StageError, match=r"no answer within 0.2 s"):
        use(fixed(server), work, deadline_s=0.2, attempts=50, unavailable_s=0.5)


def test_one_document_that_no_replica_can_take_does_not_end_the_run():
    with serving(fail_first(99, (500, {"error": {"message": "oops"}}, {}))) as server:
        with pytest.raises(NoAnswerError, match="oops"):
            use(fixed(server), once, attempts=5, unavailable_s=0.1)
        assert server.requests == 5


def test_a_key_is_sent_and_is_in_no_message():
    with serving(fail_first(9, (401, {"error": {"message": "bad"}}, {}))) as server:
        with pytest.raises(StageError) as caught:
            use(fixed(server, key="sesame-sesame"), once)
        assert server.keys == ["Bearer sesame-sesame"]
    assert "sesame" not in str(caught.value)


def test_an_answer_without_text_is_an_empty_one():
    with serving(lambda *_: (200, completion(None), {})) as server:
        answer, _ = use(fixed(server), once)
    assert answer.text == ""

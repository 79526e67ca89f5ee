"""Asking the replicas of one model: all of them evenly, a bounded number of requests at once, failures in bounds.

A request flows in, an answer flows out, or the reason why there is none. Each request goes to the replica that has the
fewest to do. What fails is tried again, elsewhere if there is an elsewhere, after a pause that doubles and is drawn
anew each time; a replica that cannot be reached, or asks for peace, rests, and is looked up again, since it may have
come back at another address. Refused at once, with what to do: a wrong key, and a model that the server does not have.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from curator.errors import StageError
from curator.stages.text.endpoints import Endpoint, EndpointSource
from curator.stages.text.failures import Failure, classify, read_completion

FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 30.0
_LOOK_UP_EVERY_S = 0.5
_SLACK = 16  # one in so many requests may be at the busier replica, so that chance alone makes no share larger
_FAILURES_IN_A_ROW = 3  # of one replica, until it rests
_MANY_FAILURES = 16  # of all replicas together, without any answer between: one bad document alone is fewer

MEASURES = ("requests", "errors", "prompt_tokens", "completion_tokens", "seconds")
"""What is counted for each replica; seconds are those of all requests together, which overlap."""


class NoAnswerError(Exception):
    """There is no answer to a request, whatever was tried; the text of the exception says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said.

    Args:
        text: the message.
        finish_reason: why it ended: ``stop``, ``length`` or a word of the server's.
    """

    text: str
    finish_reason: str


class _Replica:
    """One replica, what it has to do, and how it has done so far."""

    def __init__(self, endpoint: Endpoint, connection: Any) -> None:  # noqa: ANN401
        self.endpoint = endpoint
        self.connection = connection
        self.outstanding = 0
        self.asked = 0
        self.failures_in_a_row = 0
        self.rests_until_s = 0.0
        self.usage = dict.fromkeys(MEASURES, 0.0)


class ModelClient:
    """Asks the replicas of one model; lives in one event loop.

    Args:
        source: says where they are.
        max_concurrency: requests that may be under way at once, over all replicas; connections are kept for as many.
        deadline_s: seconds that one request may take.
        attempts: requests for one answer, at least 1; those that never reached a server do not count.
        unavailable_s: seconds without any answer after which no replica is expected to come back.
        through_proxies: whether proxies of the environment are for these addresses.
        stage: who asks, for messages.
    """

    def __init__(
        self,
        source: EndpointSource,
        *,
        max_concurrency: int,
        deadline_s: float,
        attempts: int,
        unavailable_s: float,
        through_proxies: bool,
        stage: str,
    ) -> None:
        import openai

        self._source = source
        self._deadline_s = deadline_s
        self._attempts = attempts
        self._unavailable_s = unavailable_s
        self._stage = stage
        self._http = openai.DefaultAsyncHttpxClient(trust_env=through_proxies, timeout=None)
        self._connect: Callable[..., Any] = openai.AsyncOpenAI
        self._replicas: dict[str, _Replica] = {}
        self._gone: list[_Replica] = []
        self._looked_up_s = -_LOOK_UP_EVERY_S
        self._answered_s = time.monotonic()
        self._failures = 0

    async def identity(self) -> tuple[str, str]:
        """Name and revision of the model, as soon as a replica is there.

        Raises:
            StageError: none came.
        """
        self._answered_s = time.monotonic()
        endpoint = (await self._choose()).endpoint
        return endpoint.model, endpoint.revision

    async def ask(self, request: Mapping[str, Any]) -> Answer:
        """Ask once, and again while that may help.

        Args:
            request: arguments of a chat completion, without the model.

        Raises:
            NoAnswerError: it does not help.
            StageError: it never will: no replica is there, or all refuse the stage and not the request.
        """
        failures = 0
        replica: _Replica | None = None
        while True:
            replica = await self._choose(besides=replica)
            failure = await self._try(replica, request)
            if isinstance(failure, Answer):
                return failure
            if failure.fatal:
                raise StageError(f"{self._stage}: {replica.endpoint.url}: {failure.detail}", stage=self._stage)
            self._check_alive(failure.detail, reached=failure.sent)
            if failure.sent:
                failures += 1
                if failure.final or failures >= self._attempts:
                    raise NoAnswerError(failure.detail)
                await asyncio.sleep(_pause_s(failures))
            else:
                self._look_up()

    async def _try(self, replica: _Replica, request: Mapping[str, Any]) -> Answer | Failure:
        replica.outstanding += 1
        replica.asked += 1
        usage, started = replica.usage, time.monotonic()
        try:
            async with asyncio.timeout(self._deadline_s):
                said = await replica.connection.chat.completions.create(model=replica.endpoint.model, **request)
            text, finish_reason, tokens = read_completion(said)
        except Exception as error:  # noqa: BLE001
            failure = classify(error, deadline_s=self._deadline_s)
            usage["errors"] += 1
            self._rest(replica, failure)
            return failure
        finally:
            replica.outstanding -= 1
            usage["requests"] += 1
            usage["seconds"] += time.monotonic() - started
        for name, count in tokens.items():
            usage[name] += count
        replica.failures_in_a_row = self._failures = 0
        self._answered_s = time.monotonic()
        return Answer(text, finish_reason)

    def _rest(self, replica: _Replica, failure: Failure) -> None:
        """Leave a replica alone that would fail the next one as well, and faster than others answer."""
        if failure.final:
            return
        self._failures += failure.sent
        replica.failures_in_a_row += 1
        excess = replica.failures_in_a_row - (_FAILURES_IN_A_ROW if failure.sent and not failure.busy else 1)
        if excess >= 0:
            pause_s = max(failure.retry_after_s, _pause_s(1 + excess // 4))
            replica.rests_until_s = time.monotonic() + min(pause_s, LONGEST_PAUSE_S)

    async def _choose(self, besides: _Replica | None = None) -> _Replica:
        """The replica with the fewest requests; of those with about as few, the one that was asked the least.

        Args:
            besides: the one that has just failed the request; only if no other one is able.
        """
        while True:
            if not self._replicas:
                self._look_up()
            now_s = time.monotonic()
            able = [replica for replica in self._replicas.values() if replica.rests_until_s <= now_s]
            able = [replica for replica in able if replica is not besides] or able
            if able:
                few = min(replica.outstanding for replica in able) + sum(each.outstanding for each in able) // _SLACK
                idle = [replica for replica in able if replica.outstanding <= few]
                return min(idle, key=lambda replica: (replica.asked, replica.outstanding))
            if not self._replicas:
                self._check_alive("none is up", reached=False)
            self._look_up()
            first_s = min((replica.rests_until_s for replica in self._replicas.values()), default=now_s + 1)
            await asyncio.sleep(min(max(first_s - now_s, 0.01), _LOOK_UP_EVERY_S))

    def _check_alive(self, reason: str, *, reached: bool) -> None:
        """End the run when nothing has been answered for too long, and not for want of one good document alone."""
        if time.monotonic() - self._answered_s <= self._unavailable_s:
            return
        working = any(replica.outstanding for replica in self._replicas.values())
        if self._failures < _MANY_FAILURES and (reached or working):
            return
        asked = ", ".join(replica.endpoint.url for replica in self._replicas.values()) or "there is none"
        raise StageError(
            f"{self._stage}: no replica has answered for {self._unavailable_s:g} s ({asked}): {reason}. Answers so far "
            "are kept: the same command asks for the others only.",
            stage=self._stage,
        )

    def _look_up(self) -> None:
        """Ask where the replicas are now; one that has moved is connected to anew, and rests no longer."""
        now_s = time.monotonic()
        if now_s - self._looked_up_s < _LOOK_UP_EVERY_S:
            return
        self._looked_up_s = now_s
        found = {endpoint.replica: endpoint for endpoint in self._source.endpoints()}
        for name in [name for name in self._replicas if name not in found]:
            self._gone.append(self._replicas.pop(name))
        for name, endpoint in found.items():
            known = self._replicas.get(name)
            if known is None or known.endpoint != endpoint:
                if known is not None:
                    self._gone.append(known)
                self._replicas[name] = _Replica(endpoint, self._connected(endpoint))

    def _connected(self, endpoint: Endpoint) -> Any:  # noqa: ANN401
        connection = self._connect(
            api_key=str(endpoint.api_key) or "none",
            base_url=endpoint.url,
            http_client=self._http,
            max_retries=0,
            timeout=self._deadline_s,
        )
        _ = connection.chat.completions  # the library imports much of itself here, which is no time of a request
        return connection

    def take_usage(self) -> dict[str, dict[str, float]]:
        """What each replica was asked for since this was last called, by ``MEASURES``."""
        taken: dict[str, dict[str, float]] = {}
        for replica in (*self._gone, *self._replicas.values()):
            if replica.usage["requests"]:
                sums = taken.setdefault(replica.endpoint.replica, dict.fromkeys(MEASURES, 0.0))
                for name, amount in replica.usage.items():
                    sums[name] += amount
                replica.usage = dict.fromkeys(MEASURES, 0.0)
        self._gone = [replica for replica in self._gone if replica.outstanding]
        return dict(sorted(taken.items()))

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()


def _pause_s(failures: int) -> float:
    """A pause before the next try: longer each time, and anywhere between half of that and all of it."""
    longest = min(FIRST_PAUSE_S * 2.0 ** (failures - 1), LONGEST_PAUSE_S)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - it spreads retries, and is in no data

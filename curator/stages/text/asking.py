"""One worker's conversation with a model: prompts in, values for columns out, in the order of the prompts.

What was answered before comes from the cache. An answer that the schema does not take is asked for again, differently,
a few times; then it is broken for good. All requests are made by one event loop in a thread of its own, so that the
stage may be used wherever another loop runs already, and a signal is heard while answers are waited for.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from curator.stages.text.answer_cache import AnswerCache, answer_key
from curator.stages.text.answers import AnswerSchema, BrokenAnswerError
from curator.stages.text.client import MEASURES, Answer, ModelClient, NoAnswerError

BROKEN_ANSWER, NO_ANSWER = "broken_answer", "no_answer"
CACHE = "cache"
"""Name in reports of what was answered before."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a document has no values: one word, and what happened."""

    reason: str
    detail: str


class AskingSession:
    """Asks for one stage in one worker.

    Args:
        client: asks the replicas.
        cache: what was answered before; ``None`` keeps nothing.
        schema: what an answer has to be.
        request: the arguments of a chat completion, for a prompt and the number of the try, from 0.
        answer_attempts: answers that may be broken, until no other one is asked for.
        max_concurrency: requests at once.
    """

    def __init__(
        self,
        client: ModelClient,
        cache: AnswerCache | None,
        schema: AnswerSchema,
        request: Callable[[str, int], Mapping[str, Any]],
        *,
        answer_attempts: int,
        max_concurrency: int,
    ) -> None:
        self._client = client
        self._cache = cache
        self._schema = schema
        self._request = request
        self._answer_attempts = answer_attempts
        self._max_concurrency = max_concurrency
        self._known = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="asking", daemon=True)
        self._thread.start()

    def ask(self, prompts: Sequence[str]) -> list[dict[str, Any] | Rejection]:
        """The values of each prompt's answer, or why there are none.

        Raises:
            StageError: no replica answers any more, or all refuse the stage.
        """
        return self._run(self._ask_all(prompts)) if prompts else []

    def take_usage(self) -> dict[str, dict[str, float]]:
        """What was asked since this was last called, by replica; what was known is that of a replica ``cache``."""
        usage = self._client.take_usage()
        if self._known:
            usage[CACHE] = {**dict.fromkeys(MEASURES, 0.0), "requests": float(self._known)}
        self._known = 0
        return usage

    def close(self) -> None:
        """Close connections and files, and end the thread."""
        self._run(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        if self._cache is not None:
            self._cache.close()

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def _ask_all(self, prompts: Sequence[str]) -> list[dict[str, Any] | Rejection]:
        model, revision = await self._client.identity()
        outcomes: list[dict[str, Any] | Rejection] = [Rejection(NO_ANSWER, "")] * len(prompts)
        waiting = iter(enumerate(prompts))

        async def ask_next(waiting: Iterator[tuple[int, str]]) -> None:
            for position, prompt in waiting:
                outcomes[position] = await self._ask_one(prompt, model, revision)

        askers = [asyncio.create_task(ask_next(waiting)) for _ in range(min(self._max_concurrency, len(prompts)))]
        try:
            await asyncio.gather(*askers)
        finally:
            for asker in askers:
                asker.cancel()
            await asyncio.gather(*askers, return_exceptions=True)
        return outcomes

    async def _ask_one(self, prompt: str, model: str, revision: str) -> dict[str, Any] | Rejection:
        reason = ""
        for attempt in range(self._answer_attempts):
            request = self._request(prompt, attempt)
            try:
                answer = await self._answer(request, answer_key(model, revision, request))
            except NoAnswerError as error:
                return Rejection(NO_ANSWER, str(error))
            try:
                return self._schema.parse(answer.text)
            except BrokenAnswerError as error:
                reason = f"{error}{', cut off at max_tokens' * (answer.finish_reason == 'length')}"
        return Rejection(BROKEN_ANSWER, reason)

    async def _answer(self, request: Mapping[str, Any], key: bytes) -> Answer:
        if self._cache is None:
            return await self._client.ask(request)
        if (known := self._cache.get(key)) is not None:
            self._known += 1
            return _unpacked(known)
        answer = await self._client.ask(request)
        return _unpacked(self._cache.put(key, json.dumps([answer.finish_reason, answer.text])))


def _unpacked(kept: str) -> Answer:
    finish_reason, text = json.loads(kept)
    return Answer(text, finish_reason)

"""A stage that asks a language model about each document and makes columns of its answers.

Documents flow in, the same documents with typed columns flow out. One that gets no answer, or none but broken ones,
goes to the quarantine with the reason (``no_answer``, ``broken_answer``), or where ``on_broken`` says. Answers are as
repeatable as the server makes them: temperature 0 and a fixed seed are asked for, and an answer that was given once is
kept and never asked for again. Refused are prompts that are no templates, and answers without a schema.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from curator.errors import ConfigError
from curator.stages.base import ProcessingStage, WorkerMetadata
from curator.stages.runtime_env import SecretText
from curator.stages.text.endpoints import Endpoint, EndpointSource, FixedEndpoints
from curator.stages.text.llm_options import check_options, read_on_broken, read_prompt
from curator.tasks import DocumentBatch

if TYPE_CHECKING:
    from curator.stages.text.asking import AskingSession

_FILE_REFERENCE = "file:"
_OTHER_TEMPERATURE = 0.5  # of the tries behind a broken answer: asking the same again would give the same


class AskModel(ProcessingStage):
    """Asks a model for one JSON object about each document.

    Args:
        prompt: a template over columns, such as ``Rate this text: {text}``.
        answer: the fields of the answer, and so the columns: by name a type (``integer``, ``number``, ``string``,
            ``boolean``) or a mapping of ``type``, ``min``, ``max``, ``choices`` and ``optional``.
        replicas: name of the set of replicas to ask; ``None`` for the only one.
        endpoint: URL of a server that is there already, up to ``/v1``, instead of replicas.
        model: the model's name there.
        revision: what its weights are; a new one is asked everything again. ``None`` is the URL.
        api_key: the server's key, or ``file:PATH`` of a file that holds it.
        system: the system message; ``None`` for none.
        max_characters: of each column in a prompt; the rest is cut off. ``None`` cuts nothing.
        structured: what holds the model to the answer: ``json_schema`` or ``json_object`` where the server can do
            that, else ``none``.
        temperature: of the first try for each document.
        seed: of the first try; later ones count up. ``None`` asks for none.
        max_tokens: of an answer; ``None`` asks for no limit.
        extra: more parameters of a request, as the server names them.
        max_concurrency: requests at once of each worker, over all replicas.
        deadline_s: seconds that one request may take.
        attempts: requests for one answer, before there is none.
        answer_attempts: broken answers, before there is none that could be read.
        unavailable_s: seconds without any answer from anywhere, before the run ends.
        on_broken: where documents go whose answers are broken: ``quarantine``, ``remove`` (a line in the ledger), or
            ``default:`` and a JSON object of values for all fields.
        cache_path: folder of answers that were given; ``None`` keeps none.

    Raises:
        ConfigError: an argument is not allowed; every mistake is in the message.

    Example:
        >>> stage = AskModel("Rate this: {text}", {"score": {"type": "integer", "min": 0, "max": 5}})
        >>> stage.inputs(), stage.outputs()
        (('text',), ('score',))
    """

    name = "llm"

    def __init__(
        self,
        prompt: str,
        answer: Mapping[str, Any],
        *,
        replicas: str | None = None,
        endpoint: str | None = None,
        model: str | None = None,
        revision: str | None = None,
        api_key: str | None = None,
        system: str | None = None,
        max_characters: int | None = None,
        structured: Literal["json_schema", "json_object", "none"] = "json_schema",
        temperature: float = 0.0,
        seed: int | None = 0,
        max_tokens: int | None = 256,
        extra: Mapping[str, Any] | None = None,
        max_concurrency: int = 64,
        deadline_s: float = 120.0,
        attempts: int = 4,
        answer_attempts: int = 2,
        unavailable_s: float = 300.0,
        on_broken: str = "quarantine",
        cache_path: str | None = "~/.cache/curator/answers",
    ) -> None:
        self.prompt = prompt
        self.answer = answer
        self.replicas = replicas
        self.endpoint = endpoint
        self.model = model
        self.revision = revision
        self.api_key = None if api_key is None else SecretText(api_key)
        self.system = system
        self.max_characters = max_characters
        self.structured = structured
        self.temperature = temperature
        self.seed = seed
        self.max_tokens = max_tokens
        self.extra = dict(extra or {})
        self.max_concurrency = max_concurrency
        self.deadline_s = deadline_s
        self.attempts = attempts
        self.answer_attempts = answer_attempts
        self.unavailable_s = unavailable_s
        self.on_broken = on_broken
        self.cache_path = cache_path
        self.source: EndpointSource | None = None
        """Where the replicas are; set by whoever starts them, with ``with_``."""
        if problems := check_options(self):
            raise ConfigError([f"llm.{problem}" for problem in problems])
        self._template, self._schema = read_prompt(prompt, answer)
        self._default = read_on_broken(on_broken, self._schema)
        self._session: AskingSession | None = None

    def inputs(self) -> tuple[str, ...]:
        """The columns that the prompt names."""
        return self._template.columns

    def required_columns(self) -> tuple[str, ...]:
        """Columns without which there is nothing to ask; a run over files that lack one is refused."""
        return self._template.columns

    def outputs(self) -> tuple[str, ...]:
        """The fields of the answer."""
        return tuple(self._schema.fields)

    def settings(self) -> dict[str, Any]:
        """What decides the answers: who is asked what, not how, where and how fast."""
        keys = ("prompt", "answer", "system", "max_characters", "structured", "temperature", "seed", "max_tokens")
        asked = ("replicas", "model", "revision", "extra", "answer_attempts", "on_broken")
        settings: dict[str, Any] = {key: getattr(self, key) for key in (*keys, *asked)}
        return settings | ({"endpoint": self.endpoint} if self.revision is None and self.endpoint else {})

    def notes(self) -> list[str]:
        """Whom it asks for what, and where answers are kept."""
        asked = self.endpoint or (f"the replicas {self.replicas!r}" if self.replicas else "the replicas of the run")
        kept = f"answers are kept in {self.cache_path}" if self.cache_path else "answers are not kept"
        columns = ", ".join(self.outputs())
        return [f"asks {asked} for {columns}, {self.max_concurrency} requests at once from each worker; {kept}"]

    def setup(self, worker_metadata: WorkerMetadata) -> None:
        """Get ready to ask; a replica is looked for when there is something to ask it.

        Raises:
            ConfigError: there is nobody to ask, the key cannot be read, or the client library is not installed.
        """
        from curator.stages.text.answer_cache import AnswerCache
        from curator.stages.text.asking import AskingSession
        from curator.stages.text.client import ModelClient

        self.teardown()
        try:
            client = ModelClient(
                self._where(),
                max_concurrency=self.max_concurrency,
                deadline_s=self.deadline_s,
                attempts=self.attempts,
                unavailable_s=self.unavailable_s,
                through_proxies=self.endpoint is not None,
                stage=self.name,
            )
        except ImportError as error:
            raise ConfigError(
                f"stages.{self.name}: needs {error.name}, which is not installed. Type: pip install 'curator[llm]'."
            ) from None
        cache = None if self.cache_path is None else AnswerCache(Path(os.path.expanduser(self.cache_path)))
        self._session = AskingSession(
            client,
            cache,
            self._schema,
            self._request,
            answer_attempts=self.answer_attempts,
            max_concurrency=self.max_concurrency,
        )

    def process(self, task: DocumentBatch) -> DocumentBatch:
        """Ask about each document of a batch.

        Raises:
            StageError: no replica answers any more, or all refuse the stage and not the document.
        """
        assert self._session is not None
        prompts = self._template.fill(task.columns, self.max_characters)
        outcomes = self._session.ask(prompts)
        broken = {place: outcome for place, outcome in enumerate(outcomes) if not isinstance(outcome, dict)}
        if self._default is not None:
            broken = {place: each for place, each in broken.items() if each.reason != "broken_answer"}
        instead = self._default or {}
        values = [outcome if isinstance(outcome, dict) else instead for outcome in outcomes]
        columns = task.columns
        for field in self._schema.arrow_fields():
            column = pa.array([each.get(field.name) for each in values], field.type)
            if field.name in columns.column_names:
                columns = columns.drop_columns([field.name])
            columns = columns.append_column(field, column)
        batch = replace(task, columns=columns)
        if self.on_broken == "remove":
            removed = [place for place, each in broken.items() if each.reason == "broken_answer"]
            drop = np.isin(np.arange(len(outcomes)), removed)
            batch = batch.remove(drop, stage=self.name, reason="broken_answer")
            broken = {place - int(drop[:place].sum()): each for place, each in broken.items() if not drop[place]}
        drop = np.isin(np.arange(batch.num_items), list(broken))
        return batch.quarantine(
            drop,
            stage=self.name,
            reasons=[each.reason for each in broken.values()],
            details=[each.detail for each in broken.values()],
        )

    def usage(self) -> dict[str, dict[str, float]]:
        """Requests, errors, tokens and seconds since this was last asked, by replica."""
        return {} if self._session is None else self._session.take_usage()

    def teardown(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _where(self) -> EndpointSource:
        if self.source is not None:
            return self.source
        if self.endpoint is None:
            raise ConfigError(
                f"stages.{self.name}: there is nobody to ask. Choose a set of replicas, for example "
                f"'replicas=tiny_cpu', or name a server: 'stages.{self.name}.endpoint=http://HOST:PORT/v1'."
            )
        key = self.api_key or SecretText()
        if key.startswith(_FILE_REFERENCE):
            path = key.removeprefix(_FILE_REFERENCE)
            try:
                key = SecretText(Path(path).read_text(encoding="utf-8").strip())
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(f"stages.{self.name}.api_key: {path!r} cannot be read: {error}.") from None
        revision = self.endpoint if self.revision is None else self.revision
        return FixedEndpoints((Endpoint("endpoint", self.endpoint, str(self.model), revision, key),))

    def _request(self, prompt: str, attempt: int) -> dict[str, Any]:
        """The arguments of a chat completion."""
        messages = [{"role": "system", "content": self.system}] if self.system else []
        temperature = self.temperature if not attempt else max(self.temperature, _OTHER_TEMPERATURE)
        request: dict[str, Any] = {
            "messages": [*messages, {"role": "user", "content": prompt}],
            "temperature": temperature,
        }
        if self.seed is not None:
            request["seed"] = self.seed + attempt
        if self.max_tokens is not None:
            request["max_tokens"] = self.max_tokens
        if self.structured == "json_object":
            request["response_format"] = {"type": "json_object"}
        elif self.structured == "json_schema":
            described = {"name": "answer", "strict": True, "schema": self._schema.json_schema()}
            request["response_format"] = {"type": "json_schema", "json_schema": described}
        if self.extra:
            request["extra_body"] = self.extra
        return request

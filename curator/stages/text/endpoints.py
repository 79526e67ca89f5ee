"""Where a model answers: the hand-over between those who serve models and the stage that asks them.

Whoever has started replicas gives the stage an ``EndpointSource`` (``stage.with_(source=...)``); it is pickled to the
workers and asked there: once in ``setup``, and again whenever a replica cannot be reached, since a replica that was
started again may have another address. Nothing here starts, stops or talks to a server.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from curator.stages.runtime_env import SecretText


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One replica as a client sees it.

    Args:
        replica: its name in reports, the same after a restart: ``judge-0``.
        url: base URL of its OpenAI-compatible API, up to and including ``/v1``.
        model: the model's name in requests.
        revision: what its weights are, a commit or a digest; answers are kept under it. Empty where nobody knows.
        api_key: what it wants to see; its ``repr`` is masked. Empty for none.

    Example:
        >>> Endpoint("judge-0", "http://127.0.0.1:8000/v1", "judge", api_key=SecretText("abc"))
        Endpoint(replica='judge-0', url='http://127.0.0.1:8000/v1', model='judge', revision='', api_key='***')
    """

    replica: str
    url: str
    model: str
    revision: str = ""
    api_key: SecretText = field(default_factory=SecretText)


class EndpointSource(Protocol):
    """Says where the replicas of one model are now."""

    def endpoints(self) -> Sequence[Endpoint]:
        """The replicas that can be asked, in the order of their names; blocks for seconds at most.

        Returns:
            The endpoints; none while all of them are down. All have one model and one revision.
        """


@dataclass(frozen=True, slots=True)
class FixedEndpoints:
    """Servers that somebody else runs.

    Example:
        >>> FixedEndpoints((Endpoint("judge-0", "http://127.0.0.1:8000/v1", "judge"),)).endpoints()[0].replica
        'judge-0'
    """

    known: tuple[Endpoint, ...]

    def endpoints(self) -> Sequence[Endpoint]:
        """Always the same."""
        return self.known

"""``transformers serve`` behind a check of the key: ``python -m curator.serve.transformers_server serve MODEL ...``.

The words are those of its own command. Its server asks for no key, so that on an address which other machines reach
anybody could use the model. Here every request but ``GET /health`` must carry the key that ``CURATOR_REPLICA_KEY``
holds; without that variable nothing is started. The tiny model is made in the working directory first.
"""

from __future__ import annotations

import hmac
import os
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from curator.serve.engines import KEY_VARIABLE
from curator.serve.settings import TINY_MODEL
from curator.serve.tiny_model import make_tiny_model

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class RequireKey:
    """An ASGI application that answers 401 for another one, unless a request carries the key."""

    def __init__(self, app: App, key: str) -> None:
        self.app = app
        self._wanted = f"Bearer {key}".encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on."""
        if scope["type"] == "lifespan" or self._is_allowed(scope):
            await self.app(scope, receive, send)
            return
        headers = [(b"content-type", b"application/json"), (b"www-authenticate", b"Bearer")]
        await send({"type": "http.response.start", "status": 401, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"error": {"message": "wrong key", "code": 401}}'})

    def _is_allowed(self, scope: Message) -> bool:
        if scope["type"] != "http":
            return False
        if scope["path"] == "/health":
            return True
        given = dict(scope["headers"]).get(b"authorization", b"")
        return hmac.compare_digest(given, self._wanted)


def main() -> None:
    """Run the command with every application that uvicorn is given behind the check."""
    key = os.environ.pop(KEY_VARIABLE, "")
    if not key:
        raise SystemExit(f"{KEY_VARIABLE} is not set: a server without a key would be anybody's.")
    try:
        import uvicorn
        from transformers.cli.transformers import app
    except ImportError as error:
        raise SystemExit(f"{error}. Install it with: pip install 'curator[replicas]'") from error
    if any(word.partition("@")[0] == TINY_MODEL for word in sys.argv):
        make_tiny_model(Path(TINY_MODEL))
    config: Any = uvicorn.Config
    plain = config.__init__

    def guarded(self: Any, app: App, *arguments: Any, **settings: Any) -> None:  # noqa: ANN401
        plain(self, RequireKey(app, key), *arguments, **settings)

    config.__init__ = guarded
    sys.argv[0] = "transformers"
    app()


if __name__ == "__main__":
    main()

"""What the client library gives back, or raises, as words for a quarantine and decisions for a retry.

Completions and exceptions flow in. Nothing in a detail changes from run to run: no address, no time, no request id.
The library's classes are told by their names, because it is imported only where requests are made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

_BUSY = (429, 503)
_TRY_AGAIN = (408, 409, 425, 429)
_STAGES_FAULT = {
    401: "the key is refused (401). Set api_key, for example 'api_key=file:PATH'",
    403: "the key may not do that (403). Set another api_key",
    404: "there is no such model, or no such API (404)",
}
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request has no answer.

    Args:
        detail: in words.
        sent: whether a server got it; what was never sent costs no attempt.
        final: whether the same request would fail again, wherever it is sent.
        fatal: whether every other request would fail as well.
        busy: whether the server asks for peace.
        retry_after_s: for how long, 0 if it does not say.
    """

    detail: str
    sent: bool = True
    final: bool = False
    fatal: bool = False
    busy: bool = False
    retry_after_s: float = 0.0


def classify(error: Exception, *, deadline_s: float) -> Failure:
    """What an exception of a request means.

    Args:
        error: as it was raised.
        deadline_s: of the request.

    Example:
        >>> classify(TimeoutError(), deadline_s=2.5).detail
        'no answer within 2.5 s'
    """
    names = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, TimeoutError) or "APITimeoutError" in names:
        # A connection that cannot even be opened in time is one to a machine that is gone.
        sent = type(error.__cause__).__name__ != "ConnectTimeout"
        return Failure(f"no answer within {deadline_s:g} s", sent=sent)
    if "APIStatusError" in names:
        return _status(error)
    if "APIConnectionError" in names:
        cause = type(error.__cause__).__name__
        unreachable = cause in ("ConnectError", "ConnectTimeout")
        return Failure(
            "cannot be reached" if unreachable else f"the connection broke: {cause}",
            sent=not unreachable,
        )
    return Failure(f"the server's answer is no completion: {type(error).__name__}: {_shown(str(error))}")


def _status(error: Any) -> Failure:  # noqa: ANN401
    status = int(error.status_code)
    message = _shown(_message(error))
    if status in _STAGES_FAULT:
        return Failure(f"{_STAGES_FAULT[status]}: {message}", fatal=True)
    again = status in _TRY_AGAIN or status >= 500
    return Failure(
        f"HTTP {status}: {message}",
        final=not again,
        busy=status in _BUSY,
        retry_after_s=_seconds(error.response.headers.get("retry-after")) if again else 0.0,
    )


def _message(error: Any) -> str:  # noqa: ANN401
    body = error.body
    if isinstance(body, dict):
        inner = body.get("error", body)
        said = inner.get("message") if isinstance(inner, dict) else inner
        if isinstance(said, str):
            return said
    return str(body or "nothing else said")


def _seconds(header: str | None) -> float:
    try:
        seconds = float(header or 0)
    except ValueError:
        return 0.0
    return seconds if math.isfinite(seconds) and seconds > 0 else 0.0


def read_completion(said: Any) -> tuple[str, str, dict[str, int]]:  # noqa: ANN401
    """Text, reason of its end, and tokens of a completion.

    Raises:
        ValueError: it is none: a server may answer anything.
    """
    choices = getattr(said, "choices", None)
    if not isinstance(choices, list) or not choices:
        raise ValueError("it has no choices")
    message = getattr(choices[0], "message", None)
    text = getattr(message, "content", None)
    if text is None:
        text = ""
    if message is None or not isinstance(text, str):
        raise ValueError("its message has no text")
    usage = getattr(said, "usage", None)
    counts = {name: getattr(usage, name, None) for name in ("prompt_tokens", "completion_tokens")}
    tokens = {name: count for name, count in counts.items() if isinstance(count, int)}
    return text, str(getattr(choices[0], "finish_reason", None) or ""), tokens


def _shown(text: str) -> str:
    shown = " ".join(ascii(text)[1:-1].split())
    return shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 3]}..."

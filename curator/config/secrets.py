"""Secrets in a config: references stay references, and what is typed in the clear is masked wherever it would be seen.

A secret is a value under a key that speaks of tokens, passwords, keys or credentials, the user part of a URL, or the
value of such a variable of the environment. ``${oc.env:TOKEN}`` and ``file:/run/secrets/token`` are references: they
may be written and logged, and what they stand for lives in ``env_vars`` alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override, QuotedString
from omegaconf import Container, OmegaConf

from curator.logs import MASK, is_secret_name, redact, remember_secrets

# Narrower than the names of variables: a stage may well have keys such as tokenizer or max_tokens.
_SECRET_KEYS = re.compile(
    r"(?:^|_)(?:tokens?|secrets?|passwords?|passwd|credentials?|(?:api|access|private|secret)_?keys?)$", re.IGNORECASE
)
FILE_REFERENCE = "file:"


def is_secret_key(path: Iterable[str]) -> bool:
    """Whether the value at a path of a config is a secret.

    Example:
        >>> is_secret_key(["runtime_env", "env_vars", "HF_TOKEN"]), is_secret_key(["stages", "x", "max_tokens"])
        (True, True)
        >>> is_secret_key(["stages", "x", "tokenizer"])
        False
    """
    *above, key = path
    return _SECRET_KEYS.search(key) is not None or (above[-1:] == ["env_vars"] and is_secret_name(key))


def is_reference(text: str) -> bool:
    """Whether a text only says where a secret is.

    Example:
        >>> is_reference("${oc.env:TOKEN}"), is_reference("file:/run/secrets/token"), is_reference("abc")
        (True, True, False)
    """
    return text.startswith(FILE_REFERENCE) or re.fullmatch(r"\$\{[^{}]*\}|\?\?\?", text) is not None


def mask(value: Any, path: tuple[str, ...] = ()) -> Any:  # noqa: ANN401
    """A copy of a part of a config in which secrets are ``***``; references stay.

    Args:
        value: plain Python, not resolved.
        path: where it stands.

    Example:
        >>> mask({"env_vars": {"A_TOKEN": "abc", "B_TOKEN": "${oc.env:B}", "C": "s3://user:word@bucket"}})
        {'env_vars': {'A_TOKEN': '***', 'B_TOKEN': '${oc.env:B}', 'C': 's3://***@bucket'}}
    """
    if isinstance(value, Mapping):
        return {redact(str(key)): mask(item, (*path, str(key))) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [mask(item, (*path, str(index))) for index, item in enumerate(value)]
    if isinstance(value, str):
        return MASK if path and is_secret_key(path) and not is_reference(value) else redact(value)
    return value


def secrets_in(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:  # noqa: ANN401
    """Path and text of every secret that stands in a config in the clear.

    Example:
        >>> list(secrets_in({"api_key": "abc", "password": "file:/x"}))
        [('api_key', 'abc')]
    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from secrets_in(item, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from secrets_in(item, (*path, str(index)))
    elif isinstance(value, str) and value and mask(value, path) != value:
        yield ".".join(path), value


def remember_typed(overrides: Iterable[Override]) -> None:
    """Have the secrets that were typed masked in all that is said from now on."""
    for override in overrides:
        found = secrets_in(_plain(override.value()), tuple(override.key_or_group.split(".")))
        # Of a URL with a password the rest may be shown.
        remember_secrets(text for path, text in found if is_secret_key(path.split(".")))


def mask_overrides(lines: Iterable[str]) -> list[str]:
    """What was typed, with its secrets masked.

    Example:
        >>> mask_overrides(["+runtime_env.env_vars.API_TOKEN=abc", "mode=plan"])
        ['+runtime_env.env_vars.API_TOKEN=***', 'mode=plan']
    """
    masked = []
    for line in lines:
        key, equals, value = line.partition("=")
        path = tuple(key.lstrip("+~").split("."))
        is_plain = is_secret_key(path) and not is_reference(value.strip("'\""))
        masked.append(f"{key}={MASK}" if equals and is_plain else redact(line))
    return masked


def masked_yaml(config: Container) -> str:
    """A config as YAML: not resolved, and masked."""
    plain = OmegaConf.to_container(config, resolve=False, enum_to_str=True)
    return str(OmegaConf.to_yaml(OmegaConf.create(mask(plain))))


def write_record(directory: Path, *, config: Container, hydra: Mapping[str, Any]) -> None:
    """Write what a run was given: the files that Hydra would write, masked.

    Args:
        directory: made if it is not there.
        config: the job's part.
        hydra: Hydra's part, in plain Python, not resolved.
    """
    overrides = {key: mask_overrides(lines) for key, lines in hydra["overrides"].items()}
    job = hydra["job"] | {"override_dirname": redact(hydra["job"]["override_dirname"])}
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in (
        ("config.yaml", config),
        ("hydra.yaml", OmegaConf.create({"hydra": {**hydra, "overrides": overrides, "job": job}})),
        ("overrides.yaml", OmegaConf.create(overrides["task"])),
    ):
        (directory / name).write_text(masked_yaml(content), encoding="utf-8")


def _plain(value: object) -> object:
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value

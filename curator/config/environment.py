"""The environment of workers as a config says it: checked, its secrets fetched, its values never shown.

A ``runtime_env`` in plain Python flows in; a new one flows out whose secrets are ``SecretText``. A variable may be
``file:PATH``: its value is then the content of that file, without the last line end. Refused are keys that Ray does not
know, variables that are no text, and hooks outside the trusted packages.

Ray writes the variables of an environment into the log files of every node. So secrets never go that way: in a session
of our own, workers inherit those of the job from this process; all others are handed to them by ``cluster.secrets``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from curator.config.merge import SecretText
from curator.config.secrets import FILE_REFERENCE, is_secret_key
from curator.config.suggest import suggest
from curator.config.targets import TRUSTED_PACKAGES
from curator.logs import redact, remember_secrets

KEYS = (
    *("conda", "config", "container", "env_vars", "excludes", "image_uri", "java_jars", "nsight", "pip"),
    *("py_executable", "py_modules", "rocprof_sys", "uv", "worker_process_setup_hook", "working_dir"),
)
"""What Ray knows; known here as well, so that a plan need not import Ray."""

LARGEST_SECRET_BYTES = 64 << 10

_LOADS_CODE = re.compile(r"LD_\w+|DYLD_\w+|PYTHON\w+|PATH|BASH_ENV|ENV|CURATOR_TRUST|RAY_\w*(?:HOOK|PLUGIN)\w*")
_HARMLESS = ("DONTWRITEBYTECODE", "FAULTHANDLER", "HASHSEED", "IOENCODING", "UNBUFFERED", "UTF8")


def loads_code(name: str) -> bool:
    """Whether a variable decides which code a process runs.

    Example:
        >>> loads_code("PYTHONPATH"), loads_code("LD_PRELOAD"), loads_code("PYTHONHASHSEED"), loads_code("HF_HOME")
        (True, True, False, False)
    """
    return _LOADS_CODE.fullmatch(name) is not None and name.removeprefix("PYTHON") not in _HARMLESS


def warn_of_code(env: object, path: str) -> list[str]:
    """A sentence for people who did not write the config: its environment decides what code workers run.

    Example:
        >>> warn_of_code({"env_vars": {"PYTHONPATH": "/x", "A": "1"}}, "runtime_env")
        ['runtime_env.env_vars: PYTHONPATH: decides which code the workers run. Leave it to those you trust.']
    """
    variables = env.get("env_vars") if isinstance(env, Mapping) else None
    names = sorted(str(name) for name in variables if loads_code(str(name))) if isinstance(variables, Mapping) else []
    if not names:
        return []
    decide = "decides" if len(names) == 1 else "decide"
    return [f"{path}.env_vars: {', '.join(names)}: {decide} which code the workers run. Leave it to those you trust."]


def check_environment(env: object, path: str, trusted: Sequence[str] = TRUSTED_PACKAGES) -> list[str]:
    """Check a ``runtime_env``; nothing is read or started.

    Args:
        env: the section; ``None`` is no environment.
        path: where it stands.
        trusted: prefixes of trusted names.

    Returns:
        The problems; no value of a variable is in them.

    Example:
        >>> check_environment({"env_var": {}}, "runtime_env")[0].partition(" The keys")[0]
        "runtime_env.env_var: there is no such key. Did you mean 'runtime_env.env_vars'?"
    """
    if env is None:
        return []
    if not isinstance(env, Mapping):
        return [f"{path}: {env!r} is no mapping. Try 'runtime_env=inherit', or {{env_vars: {{NAME: 'text'}}}}."]
    problems = []
    if not os.environ.get("RAY_RUNTIME_ENV_PLUGINS"):
        problems += [
            f"{path}.{key}: there is no such key. {suggest(str(key), KEYS, kind='keys', prefix=f'{path}.')}"
            for key in env
            if key not in KEYS
        ]
    problems += _check_variables(env.get("env_vars"), f"{path}.env_vars")
    hook = env.get("worker_process_setup_hook")
    if hook is not None and not (isinstance(hook, str) and hook.startswith(tuple(trusted))):
        problems.append(
            f"{path}.worker_process_setup_hook: {hook!r} lies outside the trusted packages {tuple(trusted)}."
        )
    return problems


def _check_variables(variables: object, path: str) -> list[str]:
    if variables is None:
        return []
    if not isinstance(variables, Mapping):
        return [f"{path}: is of type {type(variables).__name__}, and must be a mapping of names to texts."]
    problems = []
    for name, value in variables.items():
        if not isinstance(name, str) or not re.fullmatch(r"[^=\0]+", name):
            problems.append(f"{path}.{name}: {name!r} is no name of an environment variable. Put it in quotes.")
        elif value is not None and not isinstance(value, str):
            kind = "true or false" if isinstance(value, bool) else f"of type {type(value).__name__}"
            problems.append(f"{path}.{name}: is {kind}, and must be text. Put it in quotes: '{path}.{name}=\"TEXT\"'.")
        elif isinstance(value, str) and value.startswith(FILE_REFERENCE):
            problems += _check_file(value.removeprefix(FILE_REFERENCE), f"{path}.{name}")
    return problems


def _check_file(name: str, path: str) -> list[str]:
    file = Path(name)
    if not file.is_file():
        return [f"{path}: there is no file {name!r} to take the value from."]
    if not os.access(file, os.R_OK):
        return [f"{path}: the file {name!r} cannot be read."]
    if file.stat().st_size <= LARGEST_SECRET_BYTES and not _read_text(file):
        return [f"{path}: the file {name!r} is empty, or holds no text."]
    if file.stat().st_size > LARGEST_SECRET_BYTES:
        return [f"{path}: the file {name!r} is too large for a value: at most {LARGEST_SECRET_BYTES:,} bytes."]
    return []


def reveal(env: Mapping[str, Any]) -> dict[str, Any]:
    """The environment to run with: references fetched, secrets hidden from every ``repr``.

    Args:
        env: what ``check_environment`` has nothing against.

    Returns:
        A new mapping; of a file that cannot be read, an empty text.

    Example:
        >>> reveal({"env_vars": {"A_TOKEN": "1", "B": None}, "pip": ["x"]})
        {'env_vars': {'A_TOKEN': '***', 'B': None}, 'pip': ['x']}
    """
    revealed = dict(env)
    if isinstance(env.get("env_vars"), Mapping):
        revealed["env_vars"] = {name: _reveal(name, value) for name, value in env["env_vars"].items()}
    return revealed


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError):
        return ""


def _reveal(name: str, value: Any) -> Any:  # noqa: ANN401
    if not isinstance(value, str):
        return value
    is_reference = value.startswith(FILE_REFERENCE)
    if is_reference:
        value = _read_text(Path(value.removeprefix(FILE_REFERENCE)))
    if is_reference or is_secret_key(["env_vars", name]):
        remember_secrets([value])
        return SecretText(value)
    # Of a URL with a password the rest may be shown.
    return SecretText(value) if redact(value) != value else value


def secrets_of(env: Mapping[str, Any] | None) -> dict[str, SecretText]:
    """The secrets among the variables of an environment that ``reveal`` made, by name."""
    variables = (env or {}).get("env_vars")
    pairs = variables.items() if isinstance(variables, Mapping) else ()
    return {name: value for name, value in pairs if isinstance(value, SecretText)}


def without_secrets(env: Mapping[str, Any]) -> dict[str, Any]:
    """An environment that ``reveal`` made, without the variables that are secrets."""
    secrets = secrets_of(env)
    if not secrets:
        return dict(env)
    return {**env, "env_vars": {name: value for name, value in env["env_vars"].items() if name not in secrets}}


@contextmanager
def set_in_process(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables of this process, whose workers inherit them, and put back what was there."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

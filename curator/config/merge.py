"""The one merge of settings, under the name that the rest of the configuration knows it by.

It lives with the stages, because executors and replicas merge a stage's environment over the job's, and import nothing
of ``config``.
"""

from curator.stages.runtime_env import (
    SecretText,
    describe_override,
    merge_executor_configs,
    overridden_env_vars,
    warn_on_env_var_override,
)

__all__ = [
    "SecretText",
    "describe_override",
    "merge_executor_configs",
    "overridden_env_vars",
    "warn_on_env_var_override",
]

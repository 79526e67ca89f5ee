"""The Ray actor pool executor: a pool of actors for each step, its stages fused in each actor.

Workers import what lies beside it and have no use for it, so it is imported when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from curator.exports import imported_on_use

if TYPE_CHECKING:
    from curator.executors.ray_actor_pool.executor import RayActorPoolExecutor as RayActorPoolExecutor

__all__ = ["RayActorPoolExecutor"]

__getattr__ = imported_on_use(__name__, {"RayActorPoolExecutor": "curator.executors.ray_actor_pool.executor"})

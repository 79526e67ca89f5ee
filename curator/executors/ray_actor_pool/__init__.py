"""The Ray actor pool executor: a pool of actors for each step, its stages fused in each actor."""

from curator.executors.ray_actor_pool.executor import RayActorPoolExecutor

__all__ = ["RayActorPoolExecutor"]

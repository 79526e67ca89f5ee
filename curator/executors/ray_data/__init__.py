"""The Ray Data executor: every segment is one ``map_batches``, and its rows are tasks."""

from curator.executors.ray_data.executor import RayDataExecutor

__all__ = ["RayDataExecutor"]

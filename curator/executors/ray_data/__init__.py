"""The Ray Data executor: every segment is one ``map_batches``, and its rows are tasks.

Workers import what lies beside it and have no use for it, so it is imported when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from curator.exports import imported_on_use

if TYPE_CHECKING:
    from curator.executors.ray_data.executor import RayDataExecutor as RayDataExecutor

__all__ = ["RayDataExecutor"]

__getattr__ = imported_on_use(__name__, {"RayDataExecutor": "curator.executors.ray_data.executor"})

"""Collective stages: shares of the tasks, ranks, what joins them, and the group of Ray actors that hold them.

Importing this package imports neither Ray nor torch.
"""

from curator.executors.collective.shares import CollectiveAdapter, run_collective_locally, split_evenly

__all__ = ["CollectiveAdapter", "run_collective_locally", "split_evenly"]

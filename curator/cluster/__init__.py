"""ON WHAT: the Ray session that executors run in."""

from curator.cluster.session import RaySession, ray_session

__all__ = ["RaySession", "ray_session"]

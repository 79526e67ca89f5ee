"""What one worker of a stage occupies."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Resources of one worker; a scheduler reserves them, nobody enforces them.

    Args:
        cpus: CPU cores, a fraction is allowed, at least 0.
        gpus: GPUs, a fraction below 1 or a whole number.
        memory_gb: memory in GB; 0 asks for nothing.

    Raises:
        ValueError: a number is negative.

    Example:
        >>> Resources(cpus=2).fused(Resources(gpus=1))
        Resources(cpus=2, gpus=1, memory_gb=0.0)
    """

    cpus: float = 1.0
    gpus: float = 0.0
    memory_gb: float = 0.0

    def __post_init__(self) -> None:
        for name in ("cpus", "gpus", "memory_gb"):
            if getattr(self, name) < 0:
                raise ValueError(f"resources.{name}={getattr(self, name)!r}: must be at least 0.")

    def fused(self, other: Resources) -> Resources:
        """What one worker needs that runs both stages, one after the other."""
        return Resources(
            cpus=max(self.cpus, other.cpus),
            gpus=max(self.gpus, other.gpus),
            memory_gb=max(self.memory_gb, other.memory_gb),
        )

"""IN WHICH ORDER: the pipeline and its plan. Pure: knows neither Ray nor Hydra."""

from curator.pipeline.pipeline import Pipeline
from curator.pipeline.plan import Plan, plan_run
from curator.pipeline.segments import Barrier, Collective, OnePass, Segment, Step, build_steps, chains

__all__ = [
    "Barrier",
    "Collective",
    "OnePass",
    "Pipeline",
    "Plan",
    "Segment",
    "Step",
    "build_steps",
    "chains",
    "plan_run",
]

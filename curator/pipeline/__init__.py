"""IN WHICH ORDER: the pipeline and its plan. Pure: knows neither Ray nor Hydra."""

from curator.pipeline.pipeline import Pipeline
from curator.pipeline.plan import Plan, plan_run
from curator.pipeline.segments import Barrier, Segment, Step, build_steps

__all__ = ["Barrier", "Pipeline", "Plan", "Segment", "Step", "build_steps", "plan_run"]

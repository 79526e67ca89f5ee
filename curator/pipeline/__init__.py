"""IN WHICH ORDER: the pipeline and its plan. Pure: knows neither Ray nor Hydra."""

from curator.pipeline.pipeline import Pipeline
from curator.pipeline.plan import Plan, plan_run
from curator.pipeline.segments import Barrier, Collective, Segment, Step, build_steps, chains

__all__ = ["Barrier", "Collective", "Pipeline", "Plan", "Segment", "Step", "build_steps", "chains", "plan_run"]

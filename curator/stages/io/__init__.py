"""Stages at the two ends of a pipeline: finding, reading and writing files."""

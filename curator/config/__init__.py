"""How a run is said: find the options, compose them, check everything, build the pipeline and the executor."""

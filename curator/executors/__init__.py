"""WHO RUNS IT: one seam, and an executor for each backend behind it."""

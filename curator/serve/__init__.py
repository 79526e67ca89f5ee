"""Model replicas: servers in placement groups, beside a run or for many runs, and nothing of them left behind."""

"""Where pruning and training meet: configurations, runs, results."""

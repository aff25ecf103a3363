"""Experiments join pruning and training: configurations, runs, results."""

"""Benchmarks: the speed and memory of pruning and of masked training, compared with plain code."""

"""Ordinary image classification; knows nothing of pruning."""

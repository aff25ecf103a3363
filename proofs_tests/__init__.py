"""Theorems as property tests, agreement of NumPy and torch, and everything else."""

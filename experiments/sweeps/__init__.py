"""Sweeps: grids of runs, their costs and their worker processes."""

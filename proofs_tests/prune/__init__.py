"""Tests of prune/."""

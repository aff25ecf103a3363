"""Helpers of the tests: strategies, archives, small runs. No test imports from another test."""

from pathlib import Path

ROOT = Path(__file__).parents[2]

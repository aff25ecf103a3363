"""Diagnosis: whether a network satisfies the hypotheses of the theorems, by measurement."""

from prune.diagnosis.measure import Diagnosis, diagnose
from prune.diagnosis.verdict import verdict

__all__ = ["Diagnosis", "diagnose", "verdict"]

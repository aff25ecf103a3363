"""Diagnosis: whether a network satisfies the hypotheses of the theorems, by measurement."""

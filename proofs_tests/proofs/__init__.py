"""The proofs: theorems, necessity of each hypothesis, the reference, its agreement with torch."""

"""A campaign of faults: `python -m proofs_tests.campaign --minutes 30`, as root or as any user."""

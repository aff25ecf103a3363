"""Checks that pruning and training compute the right numbers on a machine and device.

A check is a function of the device. It returns its findings in a few words, or raises `Failed`
or `Impossible` (`outcome.py`). `selfcheck.py` lists the checks and runs them.
"""

"""The evidence, without a GPU, that training is right on one: each check is one function.

A check takes the device and returns in a few words what it has seen, or raises Failed.
"""

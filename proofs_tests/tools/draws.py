"""Fewer examples of Hypothesis for a test in which one takes long."""

from hypothesis import settings


def half_as_many(test):
    """Draw half of the examples of the profile: 50, or 500 with `--hypothesis-profile=explore`."""
    return settings(max_examples=settings.default.max_examples // 2)(test)

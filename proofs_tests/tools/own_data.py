"""Data sets of a user, named `proofs_tests.tools.own_data:NAME`; some of them are wrong."""

import numpy as np


def stripes() -> tuple[np.ndarray, ...]:
    """Grey images of 8 x 8 pixels: dark or bright ones, 60 for training and 20 for testing."""
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 2
    images = (rng.integers(0, 60, (80, 8, 8)) + 180 * labels[:, None, None]).astype(np.uint8)
    return images[:60], labels[:60], images[60:], labels[60:]


def fractions() -> tuple[np.ndarray, ...]:
    """Images between 0 and 1 in place of bytes."""
    images, labels, *test = stripes()
    return images / 255, labels, *test


def negative() -> tuple[np.ndarray, ...]:
    """A label below 0."""
    images, labels, *test = stripes()
    return images, labels - 1, *test


def lonely() -> tuple[np.ndarray, ...]:
    """No training image of class 0."""
    images, labels, *test = stripes()
    return images[labels == 1], labels[labels == 1], *test


def short() -> tuple[np.ndarray, ...]:
    """Only the training half."""
    return stripes()[:2]


def failing() -> tuple[np.ndarray, ...]:
    """An error of the user's code."""
    raise OSError("the disk is away")

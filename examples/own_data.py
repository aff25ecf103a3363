"""A data set of your own: `python cli.py run --dataset examples.own_data:load`.

The images are drawn here: a noisy bar at one of four angles, the label. A function that reads
files would return arrays of the same kinds.
"""

import numpy as np

PIXELS = 16
ANGLES = 4


def load() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return training images, training labels, test images and test labels.

    Images are bytes of shape (n, H, W) or (n, C, H, W), labels are integers from 0.
    """
    rng = np.random.default_rng(0)
    return (*draw(800, rng), *draw(200, rng))


def draw(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw images of shape (count, 16, 16) and their labels."""
    labels = np.arange(count) % ANGLES
    angle = labels * np.pi / ANGLES + rng.normal(0, 0.1, count)
    y, x = np.mgrid[:PIXELS, :PIXELS] - (PIXELS - 1) / 2
    across = np.cos(angle)[:, None, None] * x + np.sin(angle)[:, None, None] * y
    from_bar = across - rng.uniform(-3, 3, (count, 1, 1))
    light = np.exp(-(from_bar**2)) + rng.normal(0, 0.2, across.shape)
    return (255 * light.clip(0, 1)).astype(np.uint8), labels


if __name__ == "__main__":
    images, labels, *_ = load()
    print(f"{images.shape}, {images.dtype}, labels {sorted(set(labels.tolist()))}")

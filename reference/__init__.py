"""The SynFlow paper in plain NumPy. README.md first, then mlp, saliency, pruning, theorems."""

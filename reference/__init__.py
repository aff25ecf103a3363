"""The SynFlow paper in plain NumPy. Read README.md first, then mlp, saliency, pruning, theorems."""

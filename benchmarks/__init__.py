"""How fast pruning is, beside the passes that it is made of and a straightforward baseline."""

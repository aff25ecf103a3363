"""Architectures, ranked by their mean Synaptic Flow."""

"""Tests of experiments/ and of the command line."""

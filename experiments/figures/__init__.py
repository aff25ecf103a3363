"""The figures of the paper: what each needs is computed or collected, saved, and then drawn.

Figures 2, 3, 4, 7 and `precision` look at networks at initialisation. Their numbers are computed
in cells, each saved when it is done, so that an interrupted computation goes on. Figures 1, 5 and
6 read the runs in a results folder. Drawing reads saved files only.
"""

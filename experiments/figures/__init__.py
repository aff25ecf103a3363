"""The figures of the paper, drawn from saved files only.

Figures 2, 3, 4, 7 and `precision` show networks at initialisation. Their numbers are computed in
cells (`cells.py`), which are saved one by one, so an interrupted computation continues. Figures 1,
5, 6 and `variants` show the runs in a results folder. Figure 0 is the worked example.
"""

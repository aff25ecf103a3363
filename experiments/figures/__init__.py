"""The figures: one module each, with `draw`, which writes a picture and the CSV behind it."""

"""Files, tables, figures and progress bars: how results leave the program, and how files are read."""

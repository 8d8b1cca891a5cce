"""Printers: the program as a Numba module, the equations as LaTeX, the folder's manifest."""

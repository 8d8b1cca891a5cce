"""Prints a derived system: its program as a Numba module, and its equations as LaTeX."""

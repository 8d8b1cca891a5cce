"""Explicit Runge-Kutta pairs as data, by name."""

from runtime.trajectory.tableaux.dop853 import DOP853
from runtime.trajectory.tableaux.prince8 import PRINCE8
from runtime.trajectory.tableaux.tableau import Tableau
from runtime.trajectory.tableaux.tsit5 import TSIT5

__all__ = ["DEFAULT_METHOD", "TABLEAUX", "Tableau"]

TABLEAUX = {tableau.name: tableau for tableau in (PRINCE8, DOP853, TSIT5)}
# At equal error its outputs need the fewest evaluations below errors of about 1e-8. Why not
# DOP853: its final states need fewer still, but its dense output is a hundred times less
# accurate than its steps.
DEFAULT_METHOD = PRINCE8.name

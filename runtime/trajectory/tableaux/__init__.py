"""Lists the Runge-Kutta methods by the names that `runtime.run_options` declares."""

from runtime.run_options import OWN_METHODS
from runtime.trajectory.tableaux.dop853 import DOP853
from runtime.trajectory.tableaux.prince8 import PRINCE8
from runtime.trajectory.tableaux.tableau import Tableau
from runtime.trajectory.tableaux.tsit5 import TSIT5

__all__ = ["TABLEAUX", "Tableau"]

TABLEAUX = dict(zip(OWN_METHODS, (PRINCE8, DOP853, TSIT5), strict=True))

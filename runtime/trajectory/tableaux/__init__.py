"""Lists the Runge-Kutta methods by name, and says which one is the default."""

from runtime.trajectory.tableaux.dop853 import DOP853
from runtime.trajectory.tableaux.prince8 import PRINCE8
from runtime.trajectory.tableaux.tableau import Tableau
from runtime.trajectory.tableaux.tsit5 import TSIT5

__all__ = ["DEFAULT_METHOD", "TABLEAUX", "Tableau"]

TABLEAUX = {tableau.name: tableau for tableau in (PRINCE8, DOP853, TSIT5)}
# Below errors of about 1e-8, outputs of this method need the fewest evaluations at equal error. Final
# states of DOP853 need fewer still, but its dense output is a hundred times less accurate than its steps.
DEFAULT_METHOD = PRINCE8.name

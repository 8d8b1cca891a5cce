"""The Hessian at a state that a user chose: the choices, checked once, and the spectrum there."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from derive.arguments import one_of, whole_number
from derive.errors import InputError
from derive.model import Model
from runtime.analysis.landscape.critical_points import critical_point, flat_directions, solution
from runtime.analysis.landscape.hessian_spectra import HessianSpectrum, checked_tolerance, hessian_spectrum
from runtime.analysis.landscape.local_hessian import require_fixed_weights
from runtime.analysis.landscape.zero_loss_solutions import zero_loss_solution
from runtime.analysis.plateau.fixed_point import plateau_at
from runtime.run_options import HESSIAN_PLACES, default
from runtime.sgd.weight_coordinates import beyond
from runtime.start import checked_arrays
from runtime.start.checked_arrays import Array
from runtime.start.chosen_start import ChosenStart, naming_choices
from runtime.start.initial_overlaps import LARGEST_START_N
from runtime.start.parameter_values import RunParameters
from runtime.start.seeds import LARGEST_SEED
from runtime.start.teacher_directions import Teacher
from runtime.system.compiled_system import System
from runtime.trajectory.trajectory_dataset import layer_variables

if TYPE_CHECKING:
    import xarray


class ChosenState(NamedTuple):
    """Overlaps Q (p, p) and R (p, p*) of a state, and the attributes of results that name it."""

    Q: Array
    R: Array
    origin: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class HessianStudy:
    """The Hessian of a model at one state in N dimensions; all choices are checked here.

    given
        Run-time parameters as keywords; T is that of the start.
    start
        A file of overlaps, or random weights and a teacher.
    place
        ``"plateau"``, ``"solution"`` or ``"start"``; None is the state of the file, or else the plateau.
    n, tolerance
        As for `hessian_spectrum`.
    parameters
        The run-time parameters.
    state
        The state; None for a plateau that only a system tells.
    """

    model: Model
    given: dataclasses.InitVar[Mapping[str, Any]]
    start: ChosenStart
    place: str | None = None
    n: int = default("n", "hessian")
    tolerance: float = default("tolerance", "hessian")
    parameters: RunParameters = dataclasses.field(init=False)
    state: ChosenState | None = dataclasses.field(init=False)

    def __post_init__(self, given: Mapping[str, Any]) -> None:
        """Raise InputError for the first choice that is not allowed, even if the state does not need it."""
        require_fixed_weights(self.model)
        whole_number("n", self.n, 1, LARGEST_START_N)
        checked_arrays.real_number("q0", self.start.q0, least=0.0, strict=True)
        whole_number("seed", self.start.seed, 0, LARGEST_SEED)
        checked_tolerance(self.tolerance)
        if self.place is not None:
            one_of("at", self.place, HESSIAN_PLACES)
            if self.start.overlaps is not None:
                raise InputError("at", "does not go with --overlaps")
        with naming_choices():
            of_start, state = self._at_start()
            parameters = RunParameters.of(self.model, {**given, **of_start})
            if state is None:
                state = self._in_closed_form(parameters)
            else:
                checked_arrays.overlaps(self.model, state.Q, state.R, parameters.T)
        object.__setattr__(self, "parameters", parameters)
        object.__setattr__(self, "state", state)

    def _at_start(self) -> tuple[dict[str, Any], ChosenState | None]:
        """T and second layers, and the state of a file or of random weights, if that is chosen."""
        if self.start.overlaps is None and self.place != "start":
            return self.start.parameters(self.model), None
        random = self.place == "start"
        chosen = dataclasses.replace(self.start, n=self.n) if random else self.start
        given, start = chosen.overlaps_of(self.model)
        origin = {**start.origin, "at": self.place} if random else start.origin
        return given, ChosenState(np.asarray(start.Q0), np.asarray(start.R0), origin)

    def _in_closed_form(self, parameters: RunParameters) -> ChosenState | None:
        """A solution, or a plateau that is known without the equations."""
        model, T = self.model, parameters.T
        if self.place == "solution":
            if model.weighted:
                Q, R = zero_loss_solution(model, T, None, **_second_layers(parameters))
                return ChosenState(Q, R, {"at": self.place, "loss": 0.0})
            point = solution(model, T)
            return ChosenState(point.Q, point.R, {"at": self.place, "loss": point.loss})
        origin = {"at": HESSIAN_PLACES[0]}
        if model.constraint == "sphere":
            return ChosenState(self.start.q0 * np.eye(model.p), np.zeros((model.p, model.pstar)), origin)
        if model.flow == "gradient" and not model.weighted and parameters["weight_decay"] == 0.0:
            point = critical_point(model, 0, model.p, T)
            return ChosenState(point.Q, point.R, origin)
        rank = Teacher.from_overlaps(T).rank
        # Whether the weights fit into N dimensions is known before the system is derived.
        beyond(np.eye(model.p), np.zeros((model.p, rank)), self.n - rank)
        return None


def _second_layers(parameters: RunParameters) -> dict[str, Array]:
    """The second layers, if the model has them, as keywords."""
    return {name: values[0] for name, values in parameters.vectors.items()}


def hessian_of_study(study: HessianStudy, system: System | None) -> tuple[HessianSpectrum, xarray.Dataset]:
    """The spectrum, and the dataset with the attributes that name the state.

    `system` is of the study's model; it is needed only where the study has no state.
    """
    model, state, T = study.model, study.state, study.parameters.T
    if state is None:
        if system is None:
            raise ValueError("this plateau needs a system")
        point = plateau_at(system, study.parameters)
        state = ChosenState(point.Q, point.R, {"at": HESSIAN_PLACES[0]})
    weights = _second_layers(study.parameters)
    spectrum = hessian_spectrum(model, state.Q, state.R, study.n, T, tolerance=study.tolerance, **weights)
    result = spectrum.to_dataset().assign(layer_variables(study.parameters))
    if state.origin.get("at") == HESSIAN_PLACES[0]:
        # Where the plateau is depends on the learning rate and the like, which the Hessian does not know.
        result.attrs.update(study.parameters.attributes)
    result.attrs.update(state.origin)
    if study.place == "solution" and model.constraint == "free" and not model.weighted:
        flat = flat_directions(model, study.n, T)
        result.attrs.update(flat_tangent=flat.tangent, flat_quartic=flat.quartic)
    return spectrum, result

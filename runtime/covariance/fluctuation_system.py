"""The compiled ODE of the covariance of the order parameters, loaded from its generated folder."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from derive.fluctuations.fluctuation_model import FluctuationModel
from derive.fluctuations.fluctuation_pipeline import FluctuationPipeline
from runtime.concurrency.interrupts import remembered_interrupts
from runtime.start.checked_arrays import Array
from runtime.start.parameter_keywords import takes_parameters
from runtime.system.compiled_system import GeneratedCode, System, as_system
from runtime.system.loading import load, load_code


class FluctuationSystem(GeneratedCode):
    """The fluctuations of one model; made by `fluctuations_of`.

    model, folder, operations
        As for `GeneratedCode`.
    module
        The generated module: ``rhs``, whose states are order parameters and then the upper triangle of Σ,
        and ``diffusion``; for quadratic networks ``rhs_with_bias`` and ``loss_bias``, whose states go on
        with N times the bias. All are raw compiled code, without any check of lengths.
    """

    model: FluctuationModel

    @cached_property
    def _compiled_diffusion(self) -> Any:
        n = self.model.state_size
        return self._first_call(self.module.diffusion, np.empty((n, n)))

    @cached_property
    def compiled_rhs_with_bias(self) -> Any:
        """As `compiled_rhs`, of states that go on with N times the bias of the order parameters."""
        return self._compiled(self.module.rhs_with_bias)

    @cached_property
    def compiled_loss_bias(self) -> Any:
        """``loss_bias(y, parameters)``: N times the bias of the loss at such a state."""
        function, model = self.module.loss_bias, self.model
        with self._lock, remembered_interrupts():
            function(np.ones(model.extended_size + model.state_size), np.ones(len(model.parameters)))
            return function

    @cached_property
    def _system(self) -> System:
        return load(self.model.base, self.folder.parent)

    def diffusion_at(self, y: Array, parameters: Array) -> Array:
        """𝓓 (n, n) at a packed state (n,), with packed parameters of the model; nothing is checked."""
        n = self.model.state_size
        result = np.empty((n, n))
        self._compiled_diffusion(y, parameters, result)
        return result

    @takes_parameters(positional=True)
    def diffusion(self, Q: ArrayLike, R: ArrayLike, *_: Any, **parameters: Any) -> Array:
        """𝓓 (n, n) at one state, in the order of ``model.state``.

        It is the covariance of N times the change of the order parameters in one step. Raises InputError
        as `System.rhs` does.
        """
        y, packed = self._system.packed_state(Q, R, **parameters)
        return self.diffusion_at(y, packed)


def fluctuations_of(system: System) -> FluctuationSystem:
    """The fluctuations of a system's model, which are derived into the system's folder if they are missing.

    Raises
    ------
    InputError
        They are not derived for this model; or `system` is no System.
    LoadError, OSError
        As from `oo.load`.
    """
    loaded = as_system(system)
    model, folder = FluctuationModel.of(loaded.model), Path(loaded.folder).parent
    return load_code(model, folder, FluctuationPipeline, FluctuationSystem)

"""One-pass SGD at one N, as all runs of a simulation follow it, whatever their parameters and starts."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from derive import readout
from derive.activation import QUADRATIC, Activation
from derive.model import Model
from runtime.start.checked_arrays import Array
from runtime.start.schedule_kinds import CONSTANT
from runtime.start.schedules import Schedule
from runtime.start.teacher_directions import Teacher


@dataclasses.dataclass(frozen=True)
class StepForm:
    """What the code of a step depends on, whatever the numbers of a run.

    p, k
        Numbers of students, and of directions that the teacher spans.
    sphere, noise
        Whether a step resets the norms of the students, and whether labels have noise.
    weighted, trained
        Whether students have second-layer weights v, and whether a step trains them.
    activations
        Those of student and teacher.
    teachers
        The number of teachers whose fields make up the teacher's output; 0 if λ² does not need them.
    separate
        Whether the teacher's output is then a sum of squares of the inputs along its directions, and not
        another quadratic form of them.
    decays
        Whether a step shrinks the weights. On the sphere none does, since their norms are reset.
    schedule
        The kind of the schedule, a number of `runtime.start.schedule_kinds`.
    """

    p: int
    k: int
    sphere: bool
    noise: bool
    weighted: bool = False
    trained: bool = False
    activations: tuple[Activation, Activation] = (QUADRATIC, QUADRATIC)
    teachers: int = 0
    separate: bool = True
    decays: bool = False
    schedule: int = CONSTANT


@dataclasses.dataclass(frozen=True)
class SgdProcess:
    """The random process that all runs of a simulation follow.

    p, teacher, n
        Number of students, the teacher, and the input dimension N.
    readout
        The weights a and b of student and teacher.
    sphere
        Whether each step resets the students' norms.
    noisy
        Whether labels have noise, which then every run draws.
    second_layer
        A value of the option of `Model`.
    decaying
        Whether the weights of some run decay.
    schedule
        How learning rates change with α.
    origin
        The time α of the start.
    activations
        Those of student and teacher.
    """

    p: int
    teacher: Teacher
    n: int
    readout: tuple[float, float]
    sphere: bool
    noisy: bool
    second_layer: str = "ones"
    decaying: bool = False
    schedule: Schedule = dataclasses.field(default_factory=Schedule)
    origin: float = 0.0
    activations: tuple[Activation, Activation] = (QUADRATIC, QUADRATIC)

    @classmethod
    def of(
        cls,
        model: Model,
        teacher: Teacher,
        n: int,
        parameters: Mapping[str, Array],
        schedule: Schedule,
        origin: float,
    ) -> SgdProcess:
        """The process of a model, with the parameters of all runs."""
        noisy, decaying = (bool(np.any(parameters[name] > 0.0)) for name in ("label_noise", "weight_decay"))
        return cls(
            p=model.p,
            teacher=teacher,
            n=n,
            readout=readout.weights(model),
            sphere=model.constraint == "sphere",
            noisy=noisy,
            second_layer=model.second_layer,
            decaying=decaying,
            schedule=schedule,
            origin=origin,
            activations=model.activations,
        )

    @property
    def beyond(self) -> int:
        """Number of dimensions beyond teacher and students; negative where students have fewer than p."""
        return self.n - self.teacher.rank - self.p

    @property
    def form(self) -> StepForm:
        """What the code of a step depends on."""
        weighted, squares = self.second_layer != "ones", self.activations[1] == QUADRATIC
        return StepForm(
            p=self.p,
            k=self.teacher.rank,
            sphere=self.sphere,
            noise=self.noisy,
            weighted=weighted,
            trained=self.second_layer == "trained",
            activations=self.activations,
            teachers=0 if squares else len(self.teacher.factor),
            separate=not squares or not weighted or self.teacher.separate,
            decays=self.decaying and not self.sphere,
            schedule=self.schedule.kind,
        )

    def label_weights(self, parameters: Mapping[str, Any]) -> Array:
        """What the teacher's output is made of: b τ (k,) for b Σ τ u², or its quadratic form (k, k).

        Where it is made of the teachers' fields, these are b v* (p*,). With second-layer weights that
        differ between runs, those are in front.
        """
        b = self.readout[1]
        if self.form.teachers:
            return np.asarray(b * parameters.get("teacher_weights", np.ones(self.form.teachers)))
        if self.second_layer == "ones":
            return np.asarray(b * self.teacher.weights)
        form = b * self.teacher.output_form(parameters["teacher_weights"])
        return np.diagonal(form, axis1=-2, axis2=-1) if self.form.separate else form

    def times(self, steps: np.ndarray) -> Array:
        """α after so many steps."""
        return np.asarray(self.origin + steps / self.n)

    def stretches(self, steps: np.ndarray) -> list[tuple[int, float, int]]:
        """The way through the records after `steps` (ascending): stretches without jumps of the schedule.

        Each is a number of steps, the factor of the learning rates in them (1 for a smooth schedule, whose
        factor is on top), and the number of the record after them, or −1 if there is none.
        """
        last = self.times(steps[-1])
        jumps = [self._step_at(time) for time, _ in self.schedule.jumps if self.origin < time < last]
        ends = np.union1d(steps, np.array(jumps, dtype=np.int64))
        begins = np.concatenate([[0], ends[:-1]])
        smooth = self.schedule.kind != CONSTANT
        factors = np.ones(len(ends)) if smooth else self.schedule.factors(self.times(begins))
        records = np.where(np.isin(ends, steps), np.searchsorted(steps, ends), -1)
        return list(zip((ends - begins).tolist(), factors.tolist(), records.tolist(), strict=True))

    def _step_at(self, time: float) -> int:
        """The first step that is taken at this time or later."""
        step = max(0, math.ceil((time - self.origin) * self.n))
        while step > 0 and self.origin + (step - 1) / self.n >= time:
            step -= 1
        while self.origin + step / self.n < time:
            step += 1
        return step

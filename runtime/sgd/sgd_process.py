"""One-pass SGD at one N, as all runs of a simulation follow it, whatever their parameters and starts."""

from __future__ import annotations

import dataclasses

from derive import readout
from derive.model import Model
from runtime.start.teacher_directions import Teacher


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
    """

    p: int
    teacher: Teacher
    n: int
    readout: tuple[float, float]
    sphere: bool
    noisy: bool

    @classmethod
    def of(cls, model: Model, teacher: Teacher, n: int, noisy: bool) -> SgdProcess:
        """The process of a model."""
        return cls(model.p, teacher, n, readout.weights(model), model.constraint == "sphere", noisy)

    @property
    def beyond(self) -> int:
        """Number of dimensions beyond teacher and students; negative where students have fewer than p."""
        return self.n - self.teacher.rank - self.p

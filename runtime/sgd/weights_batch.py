"""Emits the vector code for a step of SGD on weights with a batch of samples.

All samples are drawn first, and meet the old weights. Then their gradients are subtracted, each in one pass
over the weights.
"""

from __future__ import annotations

from typing import Any

from runtime.sgd.step_rates import StepRates, step_rates
from runtime.sgd.weights_step import WeightsEmitter


class BatchWeightsEmitter(WeightsEmitter):
    """Emits weights(W, inputs, control, steps, pairs, samples), of so many samples a step.

    `inputs` has a row for each sample. On the sphere the weights wait for the next step to be shortened.
    """

    def _step(self, old: Any, new: Any) -> None:  # noqa: ARG002 (rows belong to samples)
        vector, record, form, p = self.vector, self.record, self.form, self.form.p
        rates = step_rates(vector, self.control, record, form)
        scales = [self._scale(i) for i in range(p)]
        if form.trained:
            for i in range(p):
                self._store(self._field("second", i), "next_second", i)

        def sample(number: Any, state: list[Any]) -> list[Any]:
            self.random.state = state
            self._sample(number, scales, rates)
            return self.random.state

        self.random.state = vector.loop(self.samples, sample, self.random.state)
        for i, scale in enumerate(scales):
            if form.trained:
                self._store(self._field("next_second", i), "second", i)
            if self.shrinking:
                shrink = vector.divide(scale, self._field("scale")) if form.sphere else rates.kept
                self._store(shrink, "shrinks", i)

        def subtract(number: Any, _: list[Any]) -> None:
            for students in self.groups():
                self._pass(students, self._row(number), None, kicks_at=self._kicks_at(number, 0))
            # The passes of other samples do not shorten the weights again.
            for i in range(p if self.shrinking else 0):
                self._store(vector.constant(1.0), "shrinks", i)

        vector.loop(self.samples, subtract)

    def _row(self, number: Any) -> Any:
        """Where the input of a sample starts."""
        return self.vector.builder.mul(self.stride, number)

    def _kicks_at(self, number: Any, i: int) -> Any:
        """The component of the kick of student i by a sample."""
        vector = self.vector
        return vector.plus(vector.times(number, self.form.p), self.record.at("kicks") + i)

    def _sample(self, number: Any, scales: list[Any], rates: StepRates) -> None:
        """Draw a sample, and find its kicks and what it does to v."""
        vector, row = self.vector, self._row(number)
        for students in self.groups():
            self._pass(students, None, row, draw=students[0] == 0)
        fields, error = self._error(scales, row)
        kick = vector.multiply(rates.first, error)
        for i, field in enumerate(fields):
            change = vector.multiply(
                self._field("scale"), self.student.kick(self._weighted(kick, i), field)
            )
            if rates.kept is not None:
                change = vector.multiply(rates.kept, change)
            vector.store(change, self.control, self._kicks_at(number, i))
        if self.form.trained:
            self._train("next_second", vector.multiply(rates.second, error), fields)

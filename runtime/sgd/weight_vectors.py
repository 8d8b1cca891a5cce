"""One-pass SGD on N-dimensional weights, in vector code: each vector holds L inputs of one run.

The teacher spans the first k axes (see `weight_coordinates`), so its fields are inputs. The update of
a step waits for the next one: a single pass over the weights subtracts the last gradient,
draws the new input and sums the new fields. On the sphere that pass finds the lengths too, and the
next one divides by them.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any

import numpy as np
from llvmlite import ir

from runtime.sgd.sgd_process import SgdProcess
from runtime.vector.aligned_arrays import Array, aligned
from runtime.vector.builder import INT64, VectorFunction, integer
from runtime.vector.jit import CompiledModule, Target
from runtime.vector.random_numbers import WORDS, RandomNumbers
from runtime.vector.vector_record import RecordMemory, VectorRecord

# The number of lanes is the same on every processor, so that the streams are.
LANES = 8
# Number of 64-bit words in the streams of a run.
RUN_WORDS = LANES * WORDS
# Number of students in one pass, whose sums and rates stay in registers: with free norms, on the sphere.
_GROUP = {False: 8, True: 6}


class WeightsRecord(VectorRecord):
    """The fields of the control memory of one run, for p students and a teacher of rank k.

    words
        The state of the random numbers.
    rate, noise, student, scale
        2aη, √Δ, the readout a and 1/√N.
    masks
        For the last two vectors of a row: 1 for inputs, 0 beyond N.
    kicks
        Each student's last gradient is this times the last input.
    fields
        λ of the students.
    norms, lengths, shrinks
        On the sphere: the norms that it keeps, |w|², and the factors by which the next pass shortens the
        weights.
    teacher
        b τ, next to each other, then zeros.
    """

    def __init__(self, p: int, k: int) -> None:
        self.p = p
        self.teacher_vector_count = -(-k // LANES)
        super().__init__(
            words=(WORDS,),
            rate=(),
            noise=(),
            student=(),
            scale=(),
            masks=(2,),
            kicks=(p,),
            fields=(p,),
            norms=(p,),
            lengths=(p,),
            shrinks=(p,),
            teacher=(self.teacher_vector_count,),
        )


class WeightsEmitter:
    """Emits weights(W, inputs, control, steps, pairs), which takes that many steps of one run.

    W is (p, 2 pairs + 1) vectors, `inputs` two rows of the same length.
    """

    def __init__(self, p: int, k: int, sphere: bool, noise: bool, target: Target) -> None:
        self.record = WeightsRecord(p, k)
        self.sphere, self.noise = sphere, noise
        self.module = ir.Module("weights")
        self.vector = VectorFunction(self.module, "weights", LANES, target.fma, 5)
        builder = self.vector.builder
        self.W, self.inputs, self.control, steps, pairs = self.vector.arguments
        self.pairs = builder.ptrtoint(pairs, INT64)
        # The stride is odd, since rows a power of two apart would compete for the same lines of the cache.
        self.stride = builder.add(builder.mul(self.pairs, integer(2)), integer(1))
        self.random = RandomNumbers(self.vector)
        self.random.load(self.control, 0)
        count = builder.ptrtoint(steps, INT64)

        def step(_index: Any, carried: list[Any]) -> list[Any]:
            old, new, *self.random.state = carried
            self._step(old, new)
            return [new, old, *self.random.state]

        start = [integer(0), self.stride, *self.random.state]
        self.random.state = self.vector.loop(count, step, start)[2:]
        self.random.save(self.control, 0)
        builder.ret(integer(0))

    def _field(self, name: str, number: int = 0) -> Any:
        """A vector of a field of the control memory."""
        return self.vector.load(self.control, self.record.at(name) + number)

    def _store(self, value: Any, name: str, number: int) -> None:
        self.vector.store(value, self.control, self.record.at(name) + number)

    def _step(self, old: Any, new: Any) -> None:
        """One step; the rows of the last and of the new input start at `old` and `new`."""
        vector, record, p = self.vector, self.record, self.record.p
        size = _GROUP[self.sphere]
        for first in range(0, p, size):
            self._pass(range(first, min(first + size, p)), old, new, draw=first == 0)
        error = vector.constant(0.0)
        root = self._field("scale")
        fields, scales = [], []
        for i in range(p):
            scale = root
            if self.sphere:
                # √(norm N)/|w| · 1/√N
                ratio = vector.divide(self._field("norms", i), self._field("lengths", i))
                scale = vector.unary("sqrt", ratio)
            field = vector.multiply(scale, self._field("fields", i))
            error = vector.fma(vector.multiply(self._field("student"), field), field, error)
            fields.append(field)
            scales.append(scale)
        label = vector.constant(0.0)
        for number in range(record.teacher_vector_count):
            x = vector.load(self.inputs, vector.builder.add(new, integer(number)))
            weighted = vector.multiply(self._field("teacher", number), x)
            label = vector.fma(weighted, x, label)
        error = vector.subtract(error, self._total(label))
        if self.noise:
            x, _ = self.random.normals()
            # The run has one label, so the noise is that of one lane.
            first = vector.shuffle(x, x, [0] * LANES)
            error = vector.fma(vector.negate(self._field("noise")), first, error)
        kick = vector.multiply(self._field("rate"), error)
        for i, (field, scale) in enumerate(zip(fields, scales, strict=True)):
            change = vector.multiply(kick, field)
            if self.sphere:
                self._store(vector.divide(scale, root), "shrinks", i)
            self._store(vector.multiply(root, change), "kicks", i)

    def _pass(self, students: range, old: Any, new: Any, draw: bool) -> None:
        """w ← shrink · w − kick · (last input); stores the sums of w · (new input), and of w²."""
        vector, builder = self.vector, self.vector.builder
        kicks = [vector.negate(self._field("kicks", i)) for i in students]
        rows = [builder.mul(self.stride, integer(i)) for i in students]
        shrinks = [self._field("shrinks", i) for i in students] if self.sphere else []
        kinds = 2 if self.sphere else 1

        def turn(pair: Any, carried: list[Any], masks: list[Any] | None = None) -> list[Any]:
            sums, self.random.state = carried[: kinds * len(students)], carried[kinds * len(students) :]
            at = builder.mul(pair, integer(2))
            places = [at, builder.add(at, integer(1))]
            before = [vector.load(self.inputs, builder.add(old, place)) for place in places]
            if draw:
                now = list(self.random.normals())
                if masks is not None:
                    now = [vector.multiply(x, mask) for x, mask in zip(now, masks, strict=True)]
                for x, place in zip(now, places, strict=True):
                    vector.store(x, self.inputs, builder.add(new, place))
            else:
                now = [vector.load(self.inputs, builder.add(new, place)) for place in places]
            for i, (row, kick) in enumerate(zip(rows, kicks, strict=True)):
                for x, y, place in zip(before, now, places, strict=True):
                    component = builder.add(row, place)
                    w = vector.load(self.W, component)
                    if self.sphere:
                        w = vector.multiply(shrinks[i], w)
                    w = vector.fma(kick, x, w)
                    vector.store(w, self.W, component)
                    sums[i] = vector.fma(w, y, sums[i])
                    if self.sphere:
                        sums[len(students) + i] = vector.fma(w, w, sums[len(students) + i])
            return [*sums, *self.random.state]

        zero = vector.constant(0.0)
        carried = [zero] * (kinds * len(students)) + self.random.state
        last = builder.sub(self.pairs, integer(1))
        carried = self._loop_if_any(last, turn, carried)
        masks = [self._field("masks"), self._field("masks", 1)]
        carried = turn(last, carried, masks)
        sums, self.random.state = carried[: kinds * len(students)], carried[kinds * len(students) :]
        for number, i in enumerate(students):
            self._store(self._total(sums[number]), "fields", i)
            if self.sphere:
                length = self._total(sums[len(students) + number])
                self._store(length, "lengths", i)

    def _loop_if_any(
        self, count: Any, body: Callable[[Any, list[Any]], list[Any]], carried: list[Any]
    ) -> list[Any]:
        """A loop of `count` turns, which may be none."""
        vector, builder = self.vector, self.vector.builder
        before = builder.block
        some, after = vector.block("some"), vector.block("none")
        builder.cbranch(builder.icmp_signed(">", count, integer(0)), some, after)
        builder.position_at_end(some)
        results = vector.loop(count, body, carried)
        last = builder.block
        builder.branch(after)
        builder.position_at_end(after)
        return [
            vector.merged((start, before), (result, last))
            for start, result in zip(carried, results, strict=True)
        ]

    def _total(self, x: Any) -> Any:
        """The sum over lanes, in every lane."""
        vector = self.vector
        distance = 1
        while distance < LANES:
            x = vector.add(x, vector.shuffle(x, x, [k ^ distance for k in range(LANES)]))
            distance *= 2
        return x


@lru_cache(maxsize=64)
def _compile(p: int, k: int, sphere: bool, noise: bool, target: Target) -> Any:
    compiled = CompiledModule(WeightsEmitter(p, k, sphere, noise, target).module, target)
    return compiled.function("weights", ctypes.c_int64, *[ctypes.c_void_p] * 3, *[ctypes.c_int64] * 2)


class WeightVectors:
    """SGD on the weights of one run."""

    def __init__(
        self,
        process: SgdProcess,
        A: Array,
        S: Array,
        words: np.ndarray,
        parameters: Mapping[str, float],
        target: Target,
    ) -> None:
        self.process = process
        p, k, n = process.p, process.teacher.rank, process.n
        self._pairs = -(-n // (2 * LANES))
        row = (2 * self._pairs + 1) * LANES
        self.W = aligned(p * row).reshape(p, row)
        width = min(p, n - k)
        self.W[:, :k] = np.sqrt(n) * A
        self.W[:, k : k + width] = np.sqrt(n) * S[:, :width]
        self._inputs = aligned(2 * row).reshape(2, row)
        self._norms = np.sum(A**2, axis=1) + np.sum(S**2, axis=1)
        self._control = RecordMemory(WeightsRecord(p, k), LANES)
        self._fill(words, parameters)
        advance = _compile(p, k, process.sphere, process.noisy, target)
        addresses = (self.W.ctypes.data, self._inputs.ctypes.data, self._control.address)
        self._advance = partial(advance, *addresses)

    def _fill(self, words: np.ndarray, parameters: Mapping[str, float]) -> None:
        """Write the control memory before the first step."""
        process, control, (a, b) = self.process, self._control, self.process.readout
        control["words"][:] = words.reshape(LANES, WORDS).T.view(np.float64)
        control["rate"][:] = 2.0 * a * parameters["eta"]
        control["noise"][:] = np.sqrt(parameters["label_noise"])
        control["student"][:] = a
        control["scale"][:] = 1.0 / np.sqrt(process.n)
        rest = process.n - (self._pairs - 1) * 2 * LANES
        control["masks"][:] = (np.arange(2 * LANES) < rest).reshape(2, LANES)
        control["norms"][:] = self._norms[:, None]
        control["shrinks"][:] = 1.0
        control["teacher"].ravel()[: process.teacher.rank] = b * process.teacher.weights

    def advance(self, steps: int) -> None:
        """Take that many steps; other threads go on meanwhile."""
        if not steps:
            return
        self._advance(steps, self._pairs)
        # The last gradient still waits. Which of the two rows holds the last input depends on the count.
        last = self._inputs[steps % 2]
        kicks, shrinks = self._control["kicks"], self._control["shrinks"]
        # Weights that diverge are a result and no error.
        with np.errstate(over="ignore", invalid="ignore"):
            if self.process.sphere:
                self.W *= shrinks[:, :1]
                shrinks[:] = 1.0
            self.W -= kicks[:, :1] * last
            if self.process.sphere:
                lengths = np.sum(self.W**2, axis=1) / self.process.n
                self.W *= np.sqrt(self._norms / lengths)[:, None]
        self._inputs[:] = 0.0
        kicks[:] = 0.0

    def coordinates(self) -> tuple[Array, Array]:
        """A (p, k) and all other coordinates (p, N − k) of the present weights/√N."""
        n, k = self.process.n, self.process.teacher.rank
        weights = self.W[:, :n] / np.sqrt(n)
        return weights[:, :k], weights[:, k:]

"""One-pass SGD on N-dimensional weights, in vector code: each vector holds L inputs of one run.

The teacher spans the first k axes (see `weight_coordinates`), so its fields are inputs. The update of
a step waits for the next one: a single pass over the weights subtracts the last gradient,
draws the new input and sums the new fields. On the sphere that pass finds the lengths too, and the
next one divides by them.
"""

from __future__ import annotations

import ctypes
import dataclasses
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from llvmlite import ir

from runtime.start.checked_arrays import Array
from runtime.start.teacher_directions import Teacher
from runtime.vector.aligned_arrays import aligned
from runtime.vector.builder import INT64, VectorFunction, integer
from runtime.vector.jit import CompiledModule, Target
from runtime.vector.random_numbers import WORDS, RandomNumbers

# The number of lanes is the same on every processor, so that the streams are.
LANES = 8
# Number of 64-bit words in the streams of a run.
RUN_WORDS = LANES * WORDS
# Number of students in one pass, whose sums and rates stay in registers: with free norms, on the sphere.
_GROUP = {False: 8, True: 6}


@dataclasses.dataclass(frozen=True)
class WeightsLayout:
    """Where the vectors of the control memory start, for p students and a teacher of rank k.

    The words of the random numbers come first, then 2aη, √Δ, the readout a and 1/√N.
    """

    p: int
    k: int

    rate_at: int = WORDS
    noise_at: int = WORDS + 1
    student_at: int = WORDS + 2
    scale_at: int = WORDS + 3
    # Two vectors for the last two of a row: 1 for inputs, 0 beyond N.
    mask_at: int = WORDS + 4
    # Each student's last gradient is this times the last input.
    kicks_at: int = WORDS + 6

    @property
    def fields_at(self) -> int:
        return self.kicks_at + self.p

    @property
    def norms_at(self) -> int:
        """The norms that the sphere keeps."""
        return self.fields_at + self.p

    @property
    def lengths_at(self) -> int:
        """|w|² of each student, on the sphere."""
        return self.norms_at + self.p

    @property
    def shrink_at(self) -> int:
        """The factor by which the next pass shortens the weights, on the sphere."""
        return self.lengths_at + self.p

    @property
    def teacher_at(self) -> int:
        """b τ, next to each other, then zeros."""
        return self.shrink_at + self.p

    @property
    def teacher_vector_count(self) -> int:
        return -(-self.k // LANES)

    @property
    def component_count(self) -> int:
        return self.teacher_at + self.teacher_vector_count


class WeightsEmitter:
    """Emits weights(W, inputs, control, steps, pairs), which takes that many steps of one run.

    W is (p, 2 pairs + 1) vectors, `inputs` two rows of the same length.
    """

    def __init__(self, p: int, k: int, sphere: bool, noise: bool, target: Target) -> None:
        self.layout = WeightsLayout(p, k)
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

    def _control(self, component: int) -> Any:
        return self.vector.load(self.control, component)

    def _step(self, old: Any, new: Any) -> None:
        """One step; the rows of the last and of the new input start at `old` and `new`."""
        vector, layout, p = self.vector, self.layout, self.layout.p
        size = _GROUP[self.sphere]
        for first in range(0, p, size):
            self._pass(range(first, min(first + size, p)), old, new, draw=first == 0)
        error = vector.constant(0.0)
        root = self._control(layout.scale_at)
        fields, scales = [], []
        for i in range(p):
            scale = root
            if self.sphere:
                # √(norm N)/|w| · 1/√N
                ratio = vector.divide(
                    self._control(layout.norms_at + i), self._control(layout.lengths_at + i)
                )
                scale = vector.unary("sqrt", ratio)
            field = vector.multiply(scale, self._control(layout.fields_at + i))
            error = vector.fma(vector.multiply(self._control(layout.student_at), field), field, error)
            fields.append(field)
            scales.append(scale)
        label = vector.constant(0.0)
        for number in range(layout.teacher_vector_count):
            x = vector.load(self.inputs, vector.builder.add(new, integer(number)))
            weighted = vector.multiply(self._control(layout.teacher_at + number), x)
            label = vector.fma(weighted, x, label)
        error = vector.subtract(error, self._total(label))
        if self.noise:
            x, _ = self.random.normals()
            # The run has one label, so the noise is that of one lane.
            first = vector.shuffle(x, x, [0] * LANES)
            error = vector.fma(vector.negate(self._control(layout.noise_at)), first, error)
        kick = vector.multiply(self._control(layout.rate_at), error)
        for i, (field, scale) in enumerate(zip(fields, scales, strict=True)):
            change = vector.multiply(kick, field)
            if self.sphere:
                vector.store(vector.divide(scale, root), self.control, layout.shrink_at + i)
            vector.store(vector.multiply(root, change), self.control, layout.kicks_at + i)

    def _pass(self, students: range, old: Any, new: Any, draw: bool) -> None:
        """w ← shrink · w − kick · (last input); stores the sums of w · (new input), and of w²."""
        vector, layout, builder = self.vector, self.layout, self.vector.builder
        kicks = [vector.negate(self._control(layout.kicks_at + i)) for i in students]
        rows = [builder.mul(self.stride, integer(i)) for i in students]
        shrinks = [self._control(layout.shrink_at + i) for i in students] if self.sphere else []
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
        masks = [self._control(layout.mask_at), self._control(layout.mask_at + 1)]
        carried = turn(last, carried, masks)
        sums, self.random.state = carried[: kinds * len(students)], carried[kinds * len(students) :]
        for number, i in enumerate(students):
            vector.store(self._total(sums[number]), self.control, layout.fields_at + i)
            if self.sphere:
                length = self._total(sums[len(students) + number])
                vector.store(length, self.control, layout.lengths_at + i)

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
        A: Array,
        S: Array,
        teacher: Teacher,
        n: int,
        words: np.ndarray,
        eta: float,
        label_noise: float,
        readout: tuple[float, float],
        sphere: bool,
        noise: bool,
        target: Target,
    ) -> None:
        p, k = A.shape
        a, b = readout
        self.p, self.k, self.n, self.sphere = p, k, n, sphere
        self.layout = layout = WeightsLayout(p, k)
        self._pairs = -(-n // (2 * LANES))
        row = (2 * self._pairs + 1) * LANES
        self.W = aligned(p * row).reshape(p, row)
        width = min(p, n - k)
        self.W[:, :k] = np.sqrt(n) * A
        self.W[:, k : k + width] = np.sqrt(n) * S[:, :width]
        self._inputs = aligned(2 * row).reshape(2, row)
        self._control = control = aligned(layout.component_count * LANES).reshape(
            layout.component_count, LANES
        )
        control[:WORDS] = words.reshape(LANES, WORDS).T.view(np.float64)
        control[layout.rate_at] = 2.0 * a * eta
        control[layout.noise_at] = np.sqrt(label_noise)
        control[layout.student_at] = a
        control[layout.scale_at] = 1.0 / np.sqrt(n)
        inputs = np.zeros(2 * LANES)
        inputs[: n - (self._pairs - 1) * 2 * LANES] = 1.0
        control[layout.mask_at : layout.mask_at + 2] = inputs.reshape(2, LANES)
        self._norms = np.sum(A**2, axis=1) + np.sum(S**2, axis=1)
        control[layout.norms_at : layout.norms_at + p] = self._norms[:, None]
        control[layout.shrink_at : layout.shrink_at + p] = 1.0
        control[layout.teacher_at :].ravel()[:k] = b * teacher.weights
        self._advance = _compile(p, k, sphere, noise, target)
        self._places = [array.ctypes.data for array in (self.W, self._inputs, self._control)]

    def advance(self, steps: int) -> None:
        """Take that many steps; other threads go on meanwhile."""
        if not steps:
            return
        self._advance(*self._places, steps, self._pairs)
        layout = self.layout
        # The last gradient still waits. Which of the two rows holds the last input depends on the count.
        last = self._inputs[steps % 2]
        kicks = self._control[layout.kicks_at : layout.kicks_at + self.p]
        # Weights that diverge are a result and no error.
        with np.errstate(over="ignore", invalid="ignore"):
            if self.sphere:
                shrinks = self._control[layout.shrink_at : layout.shrink_at + self.p]
                self.W *= shrinks[:, :1]
                shrinks[:] = 1.0
            self.W -= kicks[:, :1] * last
            if self.sphere:
                lengths = np.sum(self.W**2, axis=1) / self.n
                self.W *= np.sqrt(self._norms / lengths)[:, None]
        self._inputs[:] = 0.0
        kicks[:] = 0.0

    def coordinates(self) -> tuple[Array, Array]:
        """A (p, k) and all other coordinates (p, N − k) of the present weights/√N."""
        weights = self.W[:, : self.n] / np.sqrt(self.n)
        return weights[:, : self.k], weights[:, self.k :]

"""Emits the vector code for a step of SGD on N-dimensional weights: each vector holds L inputs of one run.

The teacher spans the first k axes (see `weight_coordinates`), so its fields are inputs. The update of
a step waits for the next one: a single pass over the weights subtracts the last gradient,
draws the new input and sums the new fields. On the sphere that pass finds the lengths too, and the
next one divides by them. Weight decay is one of the factors by which the next pass shortens the weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from runtime.sgd.sgd_process import StepForm
from runtime.sgd.step_rates import rate_fields, step_rates
from runtime.sgd.unit_code import UnitCode
from runtime.vector.builder import DOUBLE, INT32, INT64, VectorFunction, integer
from runtime.vector.jit import Target
from runtime.vector.random_numbers import WORDS, RandomNumbers
from runtime.vector.vector_record import VectorRecord

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
    rate …
        The rates of a step, as `step_rates` has them; here 2aη/B.
    noise, student, scale
        √Δ, the readout a and 1/√N.
    second, next_second
        Second-layer weights v of the students, if they have any; with batches also as the samples change
        them.
    masks
        For the last two vectors of a row: 1 for inputs, 0 beyond N.
    fields
        λ of the students.
    norms, lengths, shrinks
        On the sphere the norms that it keeps, and |w|²; there and with weight decay the factors by which
        the next pass shortens the weights.
    teacher
        b τ, next to each other, then zeros; or the rows of the quadratic form that is the teacher's output;
        or F, row by row, if the output needs the fields λ* = F u.
    labels
        With the latter the weights b v* of the teachers.
    kicks
        Each student's last gradient is this times the last input, or the sum over the samples of a batch.
    """

    def __init__(self, form: StepForm, batch: int) -> None:
        self.form, self.p = form, form.p
        p = form.p
        self.teacher_vector_count = -(-form.k // LANES)
        super().__init__(
            words=(WORDS,),
            **rate_fields(form),
            noise=(),
            student=(),
            scale=(),
            **({"second": (p,)} if form.weighted else {}),
            **({"next_second": (p,)} if form.trained and batch > 1 else {}),
            masks=(2,),
            fields=(p,),
            norms=(p,),
            lengths=(p,),
            shrinks=(p,),
            teacher=(form.teachers or (1 if form.separate else form.k), self.teacher_vector_count),
            labels=(form.teachers,),
            # They come last, so that the places of all others do not depend on the number of samples.
            kicks=(batch, p),
        )


class WeightsEmitter:
    """Emits weights(W, inputs, control, steps, pairs, samples), which takes that many steps of one run.

    W is (p, 2 pairs + 1) vectors, `inputs` two rows of the same length. A step is one sample, and `samples`
    and `batch` are for `BatchWeightsEmitter`.
    """

    def __init__(self, form: StepForm, batch: int, target: Target) -> None:
        self.record = WeightsRecord(form, batch)
        self.form = form
        self.shrinking = form.sphere or form.decays
        self.module = ir.Module("weights")
        self.vector = VectorFunction(self.module, "weights", LANES, target.fma, 6)
        self.student, self.teacher = (UnitCode(self.vector, sigma) for sigma in form.activations)
        builder = self.vector.builder
        self.W, self.inputs, self.control, steps, pairs, samples = self.vector.arguments
        self.pairs, self.samples = (builder.ptrtoint(number, INT64) for number in (pairs, samples))
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
        vector, form, p = self.vector, self.form, self.form.p
        for students in self.groups():
            self._pass(students, old, new, draw=students[0] == 0)
        rates = step_rates(vector, self.control, self.record, form)
        root = self._field("scale")
        scales = [self._scale(i) for i in range(p)]
        fields, error = self._error(scales, new)
        kick = vector.multiply(rates.first, error)
        for i, (field, scale) in enumerate(zip(fields, scales, strict=True)):
            change = vector.multiply(root, self.student.kick(self._weighted(kick, i), field))
            if form.sphere:
                self._store(vector.divide(scale, root), "shrinks", i)
            if form.decays:
                self._store(rates.kept, "shrinks", i)
                change = vector.multiply(rates.kept, change)
            self._store(change, "kicks", i)
        if form.trained:
            self._train("second", vector.multiply(rates.second, error), fields)

    def groups(self) -> list[range]:
        """The students of each pass."""
        size, p = _GROUP[self.form.sphere], self.form.p
        return [range(first, min(first + size, p)) for first in range(0, p, size)]

    def _scale(self, i: int) -> Any:
        """What makes λ_i of w·x: 1/√N, on the sphere times √(norm N)/|w|."""
        if not self.form.sphere:
            return self._field("scale")
        ratio = self.vector.divide(self._field("norms", i), self._field("lengths", i))
        return self.vector.unary("sqrt", ratio)

    def _weighted(self, factor: Any, i: int) -> Any:
        """A factor times v_i, if there is a v."""
        return self.vector.multiply(factor, self._field("second", i)) if self.form.weighted else factor

    def _error(self, scales: list[Any], row: Any) -> tuple[list[Any], Any]:
        """λ of the students and e, for the sums w·x and the input in a row."""
        vector = self.vector
        error, fields = vector.constant(0.0), []
        for i, scale in enumerate(scales):
            field = vector.multiply(scale, self._field("fields", i))
            weight = self._weighted(self._field("student"), i)
            error = self.student.add_output(weight, field, error)
            fields.append(field)
        error = vector.subtract(error, self._label(row))
        if self.form.noise:
            x, _ = self.random.normals()
            # The run has one label, so the noise is that of one lane.
            first = vector.shuffle(x, x, [0] * LANES)
            error = vector.fma(vector.negate(self._field("noise")), first, error)
        return fields, error

    def _label(self, row: Any) -> Any:
        """The teacher's output b Σ v* σ*(λ*) for the input in a row."""
        vector, record, builder = self.vector, self.record, self.vector.builder
        start, count = record.at("teacher"), record.teacher_vector_count
        inputs = [vector.load(self.inputs, builder.add(row, integer(number))) for number in range(count)]
        zero = vector.constant(0.0)

        def line(r: Any, carried: list[Any]) -> list[Any]:
            """Row r of the quadratic form times the inputs, lane by lane, times input r; or b v* σ*(λ*)."""
            total = zero
            for number, x in enumerate(inputs):
                place = builder.add(builder.mul(r, integer(count)), integer(start + number))
                total = vector.fma(vector.load(self.control, place), x, total)
            if self.form.teachers:
                weight = vector.load(self.control, builder.add(r, integer(record.at("labels"))))
                return [self.teacher.add_output(weight, self._total(total), carried[0])]
            return [vector.fma(total, self._one_input(row, r), carried[0])]

        if self.form.teachers:
            return vector.loop(self.form.teachers, line, [zero])[0]
        if not self.form.separate:
            return self._total(vector.loop(self.form.k, line, [zero])[0])
        label = zero
        for number, x in enumerate(inputs):
            weighted = vector.multiply(vector.load(self.control, start + number), x)
            label = vector.fma(weighted, x, label)
        return self._total(label)

    def _one_input(self, row: Any, r: Any) -> Any:
        """Input r of a row, in every lane."""
        builder = self.vector.builder
        offset = builder.add(builder.mul(row, integer(LANES)), r)
        place = builder.gep(self.inputs, [offset], inbounds=True, source_etype=DOUBLE)
        alone = ir.Constant(self.vector.type, ir.Undefined)
        alone = builder.insert_element(alone, builder.load(place, typ=DOUBLE), ir.Constant(INT32, 0))
        return self.vector.shuffle(alone, alone, [0] * LANES)

    def _train(self, name: str, rate: Any, fields: list[Any]) -> None:
        """Subtract a rate times σ(λ) from the weights in a field."""
        minus = self.vector.negate(rate)
        for i, field in enumerate(fields):
            self._store(self.student.add_output(minus, field, self._field(name, i)), name, i)

    def _pass(self, students: range, old: Any, new: Any, draw: bool = False, kicks_at: Any = None) -> None:
        """w ← shrink · w − kick · (old input); stores the sums of w · (new input), and of w².

        Without an old input weights stay as they are, without a new one their sums do. The kicks are those
        from the component `kicks_at` on, by default the only ones.
        """
        vector, builder = self.vector, self.vector.builder
        kicks_at = integer(self.record.at("kicks")) if kicks_at is None else kicks_at
        changing, summing = old is not None, new is not None
        kicks, shrinks = [], []
        if changing:
            places = [builder.add(kicks_at, integer(i)) for i in students]
            kicks = [vector.negate(vector.load(self.control, place)) for place in places]
            shrinks = [self._field("shrinks", i) for i in students] if self.shrinking else []
        rows = [builder.mul(self.stride, integer(i)) for i in students]
        # The first sums are those of w · (new input), the others those of w².
        measuring = self.form.sphere and changing
        count, others = len(students), len(students) * (1 + measuring)

        def turn(pair: Any, carried: list[Any], masks: list[Any] | None = None) -> list[Any]:
            sums, self.random.state = carried[:others], carried[others:]
            at = builder.mul(pair, integer(2))
            places = [at, builder.add(at, integer(1))]
            before = [vector.load(self.inputs, builder.add(old, place)) for place in places if changing]
            now = self._inputs_of(new, places, draw, masks) if summing else []
            for i, row in enumerate(rows):
                for half, place in enumerate(places):
                    component = builder.add(row, place)
                    w = vector.load(self.W, component)
                    if changing:
                        if shrinks:
                            w = vector.multiply(shrinks[i], w)
                        w = vector.fma(kicks[i], before[half], w)
                        vector.store(w, self.W, component)
                    if summing:
                        sums[i] = vector.fma(w, now[half], sums[i])
                    if measuring:
                        sums[count + i] = vector.fma(w, w, sums[count + i])
            return [*sums, *self.random.state]

        carried = [vector.constant(0.0)] * others + self.random.state
        last = builder.sub(self.pairs, integer(1))
        carried = self._loop_if_any(last, turn, carried)
        masks = [self._field("masks"), self._field("masks", 1)]
        carried = turn(last, carried, masks)
        sums, self.random.state = carried[:others], carried[others:]
        for number, i in enumerate(students):
            if summing:
                self._store(self._total(sums[number]), "fields", i)
            if measuring:
                self._store(self._total(sums[count + number]), "lengths", i)

    def _inputs_of(self, row: Any, places: list[Any], draw: bool, masks: list[Any] | None) -> list[Any]:
        """Two vectors of the input in a row, which are drawn first if they are not there yet."""
        vector, builder = self.vector, self.vector.builder
        if not draw:
            return [vector.load(self.inputs, builder.add(row, place)) for place in places]
        now = list(self.random.normals())
        if masks is not None:
            now = [vector.multiply(x, mask) for x, mask in zip(now, masks, strict=True)]
        for x, place in zip(now, places, strict=True):
            vector.store(x, self.inputs, builder.add(row, place))
        return now

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

"""Restricts the overlap equations to the invariant sector, for any p and p* (docs/reductions.md).

At Q = Σₖ qₖ ûₖûₖᵀ + q_⊥ (1 − Σₖ ûₖûₖᵀ), R = Σₖ mₖ ûₖv̂ₖᵀ, T = 1, rotate the students into the frame
of the ûₖ and the teachers into that of the v̂ₖ. C then falls into one 2 × 2 block for each
direction and one entry q_⊥ for each of the p − p* students left over,

    cₖ = [[qₖ, mₖ], [mₖ, 1]],    δ = diag(a, −b),

and D = diag(a, …, −b, …) is not changed by the rotation, since all students have the weight a and
all teachers −b. So every chain C(DC)ᵐ has the blocks cₖ(δcₖ)ᵐ and the entries q_⊥(aq_⊥)ᵐ, every loop
tr((DC)ᵐ) = Σₖ tr((δcₖ)ᵐ) + (p − p*)(aq_⊥)ᵐ is a number, and the drift, which is a sum of
numbers times chains (`derive.equations`), has the form of the state: no component leads out of
the sector, the ûₖ and v̂ₖ are constant, and the equations below are closed (arXiv:2604.03068).
The argument needs T and D to be multiples of 1 among teachers and among students; a general T
and the sphere, which rescales single students, break it, and so do unequal second-layer weights. If all
students have the weight v and all teachers v*, then d = av and f = bv* stand for a and b.

If p < p*, only p directions have a student. The others have qₖ = mₖ = 0, for which cₖ is the teacher's
entry 1 alone, and these numbers stay 0. So does q_⊥ = 0, so it does not matter that its multiplicity
p − p* is negative. The same equations hold.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from fractions import Fraction

from derive.equations import LOOP_NAMES, READOUT_STUDENT, READOUT_TEACHER, OverlapEquations
from derive.overlap_program import LOSS, SECOND, SECOND_TEACHER, WEIGHTS, WEIGHTS_TEACHER
from derive.program import Program, ScalarStatement
from derive.scalar_polynomials import ScalarPolynomial
from derive.sector.sector_model import SectorModel

NORM, OVERLAP, PERP = "q", "m", "q_perp"
# This is p − p*, the number of students outside all directions.
REST = "rest"
# These are the chains in one direction: (CDC)ₛₛ, (CDC)ₛₜ and (CDCDC)ₛₛ, s for students, t for teachers.
X, Y, Z = "x", "y", "z"
D_NORM, D_OVERLAP, D_PERP = "dq", "dm", "dq_perp"
_IN_DIRECTION = (NORM, OVERLAP, X, Y, Z, D_NORM, D_OVERLAP)

_Block = tuple[tuple[ScalarPolynomial, ScalarPolynomial], tuple[ScalarPolynomial, ScalarPolynomial]]


@dataclasses.dataclass(frozen=True)
class Loop:
    """target = complement + Σₖ direction, the trace of a closed loop over the blocks of C."""

    target: str
    direction: ScalarPolynomial
    complement: ScalarPolynomial
    note: str


@dataclasses.dataclass(frozen=True)
class SectorProgram:
    """The statements of the sector's drift and loss.

    parameters
        The names of the run-time parameters, but for p.
    weights
        The statements of d and f, the entries of D, where there is a second layer.
    loops
        The traces s and t, each with the summand of a direction and the share of the complement.
    coefficients
        The statements of κ, κ²/B and ηγ, and of the coefficients of the chains.
    direction
        The statements on q and m, which run once per direction.
    complement
        The statements on q_⊥.
    loss
        The statement of ε in terms of s and t.
    """

    pstar: int
    parameters: tuple[str, ...]
    weights: tuple[ScalarStatement, ...]
    loops: tuple[Loop, ...]
    coefficients: tuple[ScalarStatement, ...]
    direction: tuple[ScalarStatement, ...]
    complement: tuple[ScalarStatement, ...]
    loss: ScalarStatement


_name = ScalarPolynomial.name
_A, _B, _Q, _M, _PERP = (_name(n) for n in (READOUT_STUDENT, READOUT_TEACHER, NORM, OVERLAP, PERP))
_ONE = ScalarPolynomial.constant(1)
_COVARIANCE: _Block = ((_Q, _M), (_M, _ONE))


def chain(length: int) -> _Block:
    """c(δc)ᵐ of one direction, expanded; m = `length`."""
    block = _COVARIANCE
    weights = (_A, -1 * _B)
    for _ in range(length):
        (ss, st), (ts, tt) = (
            tuple(
                _COVARIANCE[i][0] * weights[0] * block[0][j] + _COVARIANCE[i][1] * weights[1] * block[1][j]
                for j in range(2)
            )
            for i in range(2)
        )
        block = ((ss, st), (ts, tt))
    return block


def _loop(length: int) -> Loop:
    """tr((DC)ᵐ), m = `length`."""
    block = chain(length - 1)
    complement = _name(REST)
    for _ in range(length):
        complement = complement * _A * _PERP
    names = "DC" * length
    return Loop(
        target=LOOP_NAMES[length],
        direction=_A * block[0][0] + -1 * _B * block[1][1],
        complement=complement,
        note=f"{LOOP_NAMES[length]} = tr({names})",
    )


def sector_program(model: SectorModel, equations: OverlapEquations) -> SectorProgram:
    """The program of the sector of `model`, whose statements are the same for every p*."""
    if set(equations.dR) != {0, 1} or not {0, 1} <= set(equations.dQ) <= {0, 1, 2}:
        raise NotImplementedError("chains other than C, CDC, CDCDC have no reduction")
    coefficients = [ScalarStatement(name, value) for name, value in equations.scalars.items()]
    for prefix, parts in (("r", equations.dR), ("c", equations.dQ)):
        for length, value in sorted(parts.items()):
            coefficients.append(ScalarStatement(f"{prefix}{length}", value))
    norm, norm_perp, overlap = _name("c0") * _Q, _name("c0") * _PERP, _name("r0") * _M
    direction = [
        ScalarStatement(X, _A * _Q * _Q + -1 * _B * _M * _M),
        ScalarStatement(Y, _A * _Q * _M + -1 * _B * _M),
    ]
    complement = [ScalarStatement(f"{X}_perp", _A * _PERP * _PERP)]
    norm, norm_perp = norm + _name("c1") * _name(X), norm_perp + _name("c1") * _name(f"{X}_perp")
    overlap = overlap + _name("r1") * _name(Y)
    if 2 in equations.dQ:
        direction.append(ScalarStatement(Z, _A * _Q * _name(X) + -1 * _B * _M * _name(Y)))
        complement.append(ScalarStatement(f"{Z}_perp", _A * _PERP * _name(f"{X}_perp")))
        norm, norm_perp = norm + _name("c2") * _name(Z), norm_perp + _name("c2") * _name(f"{Z}_perp")
    direction += [ScalarStatement(D_NORM, norm), ScalarStatement(D_OVERLAP, overlap)]
    complement.append(ScalarStatement(D_PERP, norm_perp))
    program = SectorProgram(
        pstar=model.pstar,
        parameters=model.parameters[1:],
        weights=(),
        loops=tuple(_loop(length) for length in sorted(LOOP_NAMES)),
        coefficients=tuple(coefficients),
        direction=tuple(direction),
        complement=tuple(complement),
        loss=ScalarStatement(LOSS, equations.loss, note="loss = (s^2 + 2t) / 2"),
    )
    return _with_second_layer(program) if model.weighted else program


def _with_second_layer(program: SectorProgram) -> SectorProgram:
    """The program with d = a v and f = b v* in the place of a and b."""
    names = {READOUT_STUDENT: WEIGHTS.name, READOUT_TEACHER: WEIGHTS_TEACHER.name}

    def changed(statement: ScalarStatement) -> ScalarStatement:
        return dataclasses.replace(statement, polynomial=_renamed(statement.polynomial, names))

    return dataclasses.replace(
        program,
        weights=(
            ScalarStatement(WEIGHTS.name, _A * _name(SECOND.name)),
            ScalarStatement(WEIGHTS_TEACHER.name, _B * _name(SECOND_TEACHER.name)),
        ),
        loops=tuple(
            dataclasses.replace(
                loop,
                direction=_renamed(loop.direction, names),
                complement=_renamed(loop.complement, names),
            )
            for loop in program.loops
        ),
        coefficients=tuple(map(changed, program.coefficients)),
        direction=tuple(map(changed, program.direction)),
        complement=tuple(map(changed, program.complement)),
    )


def _renamed(polynomial: ScalarPolynomial, names: Mapping[str, str]) -> ScalarPolynomial:
    """The polynomial in which these names, which are different before and after, are replaced."""
    return ScalarPolynomial(
        {
            tuple(sorted(names.get(name, name) for name in monomial)): value
            for monomial, value in polynomial.terms.items()
        }
    )


def numbered(polynomial: ScalarPolynomial, k: int | str) -> ScalarPolynomial:
    """The polynomial of direction k; the names of numbers of a direction get this index."""
    return _renamed(polynomial, {name: f"{name}_{k}" for name in _IN_DIRECTION})


def written_out(program: SectorProgram) -> Program:
    """The program with the statements of every direction written out, which the proof evaluates.

    Its scalar inputs are a, b, the run-time parameters, rest = p − p* and the state; its outputs are dq_k,
    dm_k, dq_perp and loss.
    """
    directions = range(1, program.pstar + 1)
    statements = [*program.weights]
    for loop in program.loops:
        terms = dict(loop.complement.terms)
        for k in directions:
            for monomial, value in numbered(loop.direction, k).terms.items():
                terms[monomial] = terms.get(monomial, Fraction(0)) + value
        statements.append(ScalarStatement(loop.target, ScalarPolynomial(terms), note=loop.note))
    statements += program.coefficients
    for k in directions:
        statements += [
            ScalarStatement(f"{statement.target}_{k}", numbered(statement.polynomial, k))
            for statement in program.direction
        ]
    statements += [*program.complement, program.loss]
    state = [*(f"{name}_{k}" for name in (NORM, OVERLAP) for k in directions), PERP]
    return Program(
        p=0,
        pstar=program.pstar,
        inputs=(),
        scalars=(READOUT_STUDENT, READOUT_TEACHER, *program.parameters, REST, *state),
        statements=tuple(statements),
        outputs=tuple(_outputs(program.pstar)),
    )


def _outputs(pstar: int) -> Iterator[str]:
    for name in (D_NORM, D_OVERLAP):
        for k in range(1, pstar + 1):
            yield f"{name}_{k}"
    yield from (D_PERP, LOSS)


def drift_outputs(pstar: int) -> tuple[str, ...]:
    """The names of the drift in the order of the state."""
    return tuple(name for name in _outputs(pstar) if name != LOSS)

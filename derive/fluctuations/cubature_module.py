"""Writes the diffusion matrix of polynomial activations as a sum over the points of a cubature.

A sample changes N times the order parameters by δ = −A e + S e², with g_i = ηav_i σ'(z_i) and

    A_ij = g_i z_j + g_j z_i,  S_ij = g_i g_j/B    for overlaps of students,
    A_ir = g_i z_r,            S_ir = 0            for overlaps with teachers,
    A_i  = η_v a σ(z_i),       S_i  = 0            for a trained second layer.

With the means over the label noise in closed form, as E ξ² = 1 and E ξ⁴ = 3, its second moment is

    E[δδ'] = E[AA'(e² + Δ) − (AS' + SA')(e³ + 3eΔ) + SS'(e⁴ + 6e²Δ + 3Δ²)].

A and S depend on students, but for the factor z_r. So the sums over the grid of teachers are those of
e² + Δ, e³ + 3eΔ and e⁴ + …, with the factors 1, z_r and z_r z_s, at each point of the grid of students
(`cubature_points`).
"""

from __future__ import annotations

from collections.abc import Iterator

from derive.emit.python_source import INDENT, function_text, number_text
from derive.fluctuations.cubature_points import cubature_size, normal_rule
from derive.fluctuations.fluctuation_model import FluctuationModel
from derive.fluctuations.fluctuation_module import (
    DIFFUSION,
    REMOVE_GROWTH,
    assembled,
    component_units,
)


def cubature_function(model: FluctuationModel) -> list[str]:
    """The function ``diffusion`` of a model of SGD, after the functions and numbers that it uses."""
    sections = [_constants(model), _activations(model), _FACTOR, _ADD_POINT, _TEACHER_SUMS]
    if model.constraint == "sphere":
        sections.append(REMOVE_GROWTH)
    return [*sections, function_text(*DIFFUSION, _lines(model))]


def cubature_operations(model: FluctuationModel) -> int:
    """About the number of floating-point operations of the function above."""
    size, units = cubature_size(model), model.p + model.pstar
    of_teachers = model.pstar * (2 * model.activations[1].degree + model.pstar + 8) + 20
    of_students = model.p * (units + 4 * model.activations[0].degree) + 5 * model.state_size**2
    return size.points * of_teachers + size.student_points * of_students


def _constants(model: FluctuationModel) -> str:
    size = cubature_size(model)
    lines = [component_units(model)]
    lines += [
        "# The place of the factor z_r of each order parameter among (1, z_r ...).",
        "TEACHER = np.where((FIRST < P) & (SECOND >= P), SECOND - P + 1, 0)",
        "",
        "# Nodes and weights for N(0, 1): the node 0, the positive ones, the negative ones.",
    ]
    for side, count in (("STUDENT", size.student_nodes), ("TEACHER", size.teacher_nodes)):
        for kind, numbers in zip(("NODES", "WEIGHTS"), normal_rule(count), strict=True):
            lines += [f"{side}_{kind} = np.array(", f"{INDENT}[", *_wrapped(numbers), f"{INDENT}]", ")"]
    halves = " Of those in the first direction, the points with x < 0 are left out." * size.halved
    lines += [
        f"# The points of the grids of students and of teachers.{halves}",
        f"STUDENT_POINTS = {size.student_points}",
        f"TEACHER_POINTS = {size.teacher_points}",
    ]
    return "\n".join(lines)


def _wrapped(numbers: tuple[float, ...]) -> Iterator[str]:
    """Lines of numbers as parts of a list."""
    for k in range(0, len(numbers), 3):
        yield INDENT * 2 + " ".join(f"{number!r}," for number in numbers[k : k + 3])


def _activations(model: FluctuationModel) -> str:
    student, teacher = model.activations
    functions = [
        ("_student", "sigma of a student.", student.coefficients),
        ("_slope", "The derivative of sigma of a student.", student.derivative(1)),
        ("_teacher", "sigma of a teacher.", teacher.coefficients),
    ]
    texts = []
    for name, words, coefficients in functions:
        value, *rest = (number_text(c) for c in reversed(coefficients))
        lines = [f"value = {value}"]
        lines += [f"value = value * z + {number}" for number in rest]
        texts.append(function_text(name, "z", words, [*lines, "return value"]))
    return "\n\n".join(texts)


_FACTOR = f'''
@_compiled
def _factor(C):
{INDENT}"""The lower triangular L with C = LL'; a column without anything left is 0."""
{INDENT}L = np.zeros((UNITS, UNITS))
{INDENT}for k in range(UNITS):
{INDENT * 2}left = C[k, k]
{INDENT * 2}for m in range(k):
{INDENT * 3}left -= L[k, m] * L[k, m]
{INDENT * 2}if left <= 0.0:
{INDENT * 3}continue
{INDENT * 2}L[k, k] = np.sqrt(left)
{INDENT * 2}for i in range(k + 1, UNITS):
{INDENT * 3}value = C[i, k]
{INDENT * 3}for m in range(k):
{INDENT * 4}value -= L[i, m] * L[k, m]
{INDENT * 3}L[i, k] = value / L[k, k]
{INDENT}return L
'''

_ADD_POINT = f'''
@_compiled
def _add_point(point, first, last, nodes, weights, L, z):
{INDENT}"""Add a point of the grid of the directions first to last - 1 to z; returns its weight."""
{INDENT}weight = 1.0
{INDENT}for k in range(last - 1, first - 1, -1):
{INDENT * 2}digit = point % nodes.size
{INDENT * 2}point //= nodes.size
{INDENT * 2}weight *= weights[digit]
{INDENT * 2}for m in range(k, UNITS):
{INDENT * 3}z[m] += L[m, k] * nodes[digit]
{INDENT}return weight
'''

_TEACHER_SUMS = f'''
@_compiled
def _teacher_sums(fields, output, d, L, label_noise, first, second, third):
{INDENT}"""Sum powers of e over the teachers: with factors 1 and z_r into first and third, two into second.

{INDENT}Returns the sum of e^4 + 6 e^2 label_noise + 3 label_noise^2. The error of students is given.
{INDENT}"""
{INDENT}first[:], second[:], third[:] = 0.0, 0.0, 0.0
{INDENT}fourth = 0.0
{INDENT}z = np.empty(UNITS)
{INDENT}factors = np.ones(PSTAR + 1)
{INDENT}for point in range(TEACHER_POINTS):
{INDENT * 2}z[:] = fields
{INDENT * 2}weight = _add_point(point, P, UNITS, TEACHER_NODES, TEACHER_WEIGHTS, L, z)
{INDENT * 2}e = output
{INDENT * 2}for r in range(PSTAR):
{INDENT * 3}factors[r + 1] = z[P + r]
{INDENT * 3}e += d[P + r] * _teacher(z[P + r])
{INDENT * 2}squared = e * e + label_noise
{INDENT * 2}cubed = e * (e * e + 3.0 * label_noise)
{INDENT * 2}fourth += weight * (e * e * (e * e + 6.0 * label_noise) + 3.0 * label_noise * label_noise)
{INDENT * 2}for r in range(PSTAR + 1):
{INDENT * 3}first[r] += weight * e * factors[r]
{INDENT * 3}third[r] += weight * cubed * factors[r]
{INDENT * 3}for s in range(r + 1):
{INDENT * 4}second[r, s] += weight * squared * factors[r] * factors[s]
{INDENT}for r in range(PSTAR + 1):
{INDENT * 2}for s in range(r):
{INDENT * 3}second[s, r] = second[r, s]
{INDENT}return fourth
'''


def _lines(model: FluctuationModel) -> Iterator[str]:
    """The body of the function."""
    yield from assembled(model)
    yield from (
        "L = _factor(C)",
        "z, kick, sigma = np.empty(UNITS), np.zeros(UNITS), np.empty(P)",
        "first, third = np.empty(PSTAR + 1), np.empty(PSTAR + 1)",
        "second = np.empty((PSTAR + 1, PSTAR + 1))",
        "linear, square, mean = np.empty(STATE_SIZE), np.zeros(STATE_SIZE), np.zeros(STATE_SIZE)",
        "out[:] = 0.0",
        "for point in range(STUDENT_POINTS):",
    )
    inner = [
        "z[:] = 0.0",
        "weight = _add_point(point, 0, P, STUDENT_NODES, STUDENT_WEIGHTS, L, z)",
    ]
    if cubature_size(model).halved:
        inner += [
            "if point >= STUDENT_NODES.size ** (P - 1):",
            f"{INDENT}weight *= 2.0  # The point -x is worth the same.",
        ]
    inner += [
        "output = 0.0",
        "for i in range(P):",
        f"{INDENT}sigma[i] = _student(z[i])",
        f"{INDENT}kick[i] = eta * d[i] * _slope(z[i])",
        f"{INDENT}output += d[i] * sigma[i]",
        "fourth = _teacher_sums(z, output, d, L, label_noise, first, second, third)",
        "# One sample changes N times an order parameter by -linear e + square e^2, times z_r or 1.",
        "for A in range(STATE_SIZE):",
        f"{INDENT}i, j = FIRST[A], SECOND[A]",
        f"{INDENT}linear[A] = kick[i]",
        f"{INDENT}if A < PAIRS:",
        f"{INDENT * 2}linear[A] = kick[i] * z[j] + kick[j] * z[i]",
        f"{INDENT * 2}square[A] = kick[i] * kick[j] * inverse_batch",
    ]
    if model.trained:
        inner += [
            f"{INDENT}if A >= OVERLAPS:",
            f"{INDENT * 2}linear[A] = eta_second * a * sigma[i]",
        ]
    inner += [
        f"{INDENT}mean[A] += weight * (square[A] * second[0, 0] - linear[A] * first[TEACHER[A]])",
        "for A in range(STATE_SIZE):",
        f"{INDENT}r = TEACHER[A]",
        f"{INDENT}for B in range(A, STATE_SIZE):",
        f"{INDENT * 2}s = TEACHER[B]",
        f"{INDENT * 2}total = linear[A] * linear[B] * second[r, s] + square[A] * square[B] * fourth",
        f"{INDENT * 2}total -= linear[A] * square[B] * third[r] + square[A] * linear[B] * third[s]",
        f"{INDENT * 2}out[A, B] += weight * total",
    ]
    yield from (INDENT + line for line in inner)
    yield from (
        "for A in range(STATE_SIZE):",
        f"{INDENT}for B in range(A, STATE_SIZE):",
        f"{INDENT * 2}out[A, B] = (out[A, B] - mean[A] * mean[B]) * inverse_batch",
        f"{INDENT * 2}out[B, A] = out[A, B]",
    )
    if model.constraint == "sphere":
        yield "_remove_growth(y, out)"

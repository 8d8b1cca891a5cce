"""Writes the ODE of the covariance as a Numba module: the drift, the change of Σ by the Jacobian, and 𝓓."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from textwrap import indent

from derive.emit.function_body import FunctionBody
from derive.emit.header import derive_command, option_lines, parameter_paragraph, problem_text
from derive.emit.looped_body import SIZES, LoopedBody
from derive.emit.looped_helpers import HELPERS
from derive.emit.numba_module import is_unrolled, module_constants
from derive.emit.python_source import INDENT, function_text
from derive.emit.unrolled_body import UnrolledBody
from derive.expansion import operation_count
from derive.fluctuations.cubature_points import cubature_size
from derive.fluctuations.fluctuation_model import FluctuationModel
from derive.fluctuations.fluctuation_program import (
    COVARIANCE,
    POWERS,
    UNIT_WEIGHTS,
    FluctuationProgram,
)
from derive.program import Program, Statement, targets
from derive.tangent import PREFIX
from derive.version import written_by


def fluctuation_module(
    model: FluctuationModel,
    functions: Mapping[str, Program],
    diffusion: Sequence[str],
    bias: Sequence[str] = (),
) -> str:
    """The source of the module.

    `functions` are those of the drift; `diffusion` is the text that makes 𝓓, `bias` that of the bias.
    """
    sections = [
        _docstring(model),
        f"{module_constants(model)}\nUNITS = P + PSTAR",
        HELPERS,
        *diffusion,
        _right_hand_side(model, functions),
        *bias,
    ]
    return "\n\n\n".join(section.strip("\n") for section in sections) + "\n"


def rhs_operations(model: FluctuationModel, functions: Mapping[str, Program], diffusion: int) -> int:
    """The floating-point operations of the module's rhs, of which 𝓓 takes `diffusion`."""
    size = model.state_size
    tangent = operation_count(functions["tangent"]) - operation_count(functions["rhs"])
    return operation_count(functions["rhs"]) + size * max(tangent, 0) + diffusion + size * (size + 1)


def _docstring(model: FluctuationModel) -> str:
    size = model.state_size
    noise = "D is the covariance of N times the change of the order parameters in one step."
    if model.flow == "gradient":
        noise = "D is zero: gradient flow has no noise."
    elif not model.quadratic:
        points = cubature_size(model).points
        noise += f"\nIts moments are sums over {points} points of a cubature that is exact for them."
    return f'''"""Fluctuations at order 1/N of the order parameters, p = {model.p}, p* = {model.pstar}.

{problem_text(model)}, T = W*W*'/N.
After arXiv:2604.03068; readable equations are in odes.tex beside this file.

{option_lines(model)}

N times the covariance of the order parameters over runs of SGD from one start is S + O(1/N) with
    dS/dalpha = J S + S J' + D,
where J is the Jacobian of the drift of the order parameters.
{noise}
{_bias_words(model)}
State y, {model.extended_size} numbers: y[0:{size}] has the order parameters, in the order of the system
{model.base.name}; then comes the upper triangle of S, row by row.
Parameters, {len(model.parameters)} numbers:
{parameter_paragraph(model)}

{written_by()}, regenerate with
    {derive_command(model)}
"""'''


def _bias_words(model: FluctuationModel) -> str:
    """The paragraph on the bias; nothing where it is not derived."""
    if not model.quadratic:
        return ""
    beyond, step = " + b - J F / 2", "\nOne step changes y by (F + b/N)/N on average."
    if model.flow == "gradient":
        beyond = step = ""
    return f"""
Their mean is y + m/N + O(1/N^2). With the drift F, and learning rates that do not change,
    dm/dalpha = J m{beyond} + sum_AB S_AB (d^2 F / dy_A dy_B) / 2.{step}
rhs_with_bias and loss_bias take states in which m comes after S.
"""


# --- the right-hand side -----------------------------------------------------------------------


def _right_hand_side(model: FluctuationModel, functions: Mapping[str, Program]) -> str:
    drift, tangent = functions["rhs"], functions["tangent"]
    form = UnrolledBody if is_unrolled(model, "tangent", tangent) else LoopedBody
    body: FunctionBody = form(model, tangent)
    changes = [statement for statement in tangent.statements if _is_change(statement)]
    lines = [
        *form(model, drift).load(),
        *body.lines_of(drift.statements),
        *body.stored(drift, "dy"),
        "",
        "# product[k] = J S e_k, where the column e_k of S is a direction along which the drift changes.",
        "covariance = _read_symmetric(y, STATE_SIZE, STATE_SIZE)",
        "product = np.empty((STATE_SIZE, STATE_SIZE))",
        "for column in range(STATE_SIZE):",
    ]
    inner = [
        "direction = covariance[column]",
        "out = product[column]",
        *_directions(body, tangent),
        *body.lines_of(changes),
        *body.stored(tangent, "out"),
    ]
    lines += [indent(line, INDENT) for line in inner]
    noise = ""
    if model.flow == "sgd":
        lines += ["", "noise = np.empty((STATE_SIZE, STATE_SIZE))", "diffusion(y, parameters, noise)"]
        noise = " + noise[i, j]"
    lines += [
        "k = STATE_SIZE",
        "for i in range(STATE_SIZE):",
        f"{INDENT}for j in range(i, STATE_SIZE):",
        f"{INDENT * 2}dy[k] = product[i, j] + product[j, i]{noise}",
        f"{INDENT * 2}k += 1",
    ]
    words = "Write the drift, and then dS/dalpha = J S + S J' + D, into dy."
    return function_text("rhs", "y, parameters, dy", words, lines)


def _is_change(statement: Statement) -> bool:
    return all(name.startswith(PREFIX) for name in targets(statement))


def _directions(body: FunctionBody, tangent: Program) -> Iterator[str]:
    """Lines that read the changes of the order parameters."""
    offset = 0
    for part in tangent.inputs:
        if part.name.startswith(PREFIX):
            yield from body.read(part, "direction", offset)
            offset += tangent.size_of(part)


# --- the diffusion matrix ------------------------------------------------------------------------

FREE_DIFFUSION = "_free_diffusion"
# The name, the arguments and the docstring of the function.
DIFFUSION = ("diffusion", "y, parameters, out", "Write D at the order parameters y into out, (n, n).")


def no_diffusion() -> list[str]:
    """The function of a model without noise."""
    lines = ["for i in range(STATE_SIZE):", f"{INDENT}for j in range(STATE_SIZE):"]
    return [function_text(*DIFFUSION, [*lines, f"{INDENT * 2}out[i, j] = 0.0"])]


def diffusion_function(model: FluctuationModel, written: FluctuationProgram) -> list[str]:
    """The function of a quadratic model, after the numbers of the two units of each order parameter."""
    lines = [
        *assembled(model),
        *LoopedBody(model, written.program).statements(),
        "",
        *changes(model),
        *_products(written),
    ]
    units = component_units(model)
    if model.constraint != "sphere":
        return [units, function_text(*DIFFUSION, lines)]
    free = function_text(FREE_DIFFUSION, DIFFUSION[1], "Write D of free norms into out.", lines)
    rescaled = [f"{FREE_DIFFUSION}(y, parameters, out)", "_remove_growth(y, out)"]
    return [units, REMOVE_GROWTH, free, function_text(*DIFFUSION, rescaled)]


def diffusion_operations(model: FluctuationModel) -> int:
    """About the number of floating-point operations of the function above."""
    overlaps, size = model.p * (model.p + 1) // 2, model.state_size
    of_power = {2: size * (size + 1) // 2, 3: overlaps * size, 4: overlaps * (overlaps + 1) // 2}
    return sum(6 * (power + 1) * count for power, count in of_power.items())


def component_units(model: FluctuationModel) -> str:
    """Lists of the two units of each order parameter, students first."""
    trained = (
        "\n_pairs += [(i, i) for i in range(P)]  # v, which changes with z_i z_i" if model.trained else ""
    )
    return f"""# The units i and j of each order parameter; the students come first, and then the teachers.
_pairs = [(i, j) for i in range(P) for j in range(i, P)]
PAIRS = len(_pairs)
_pairs += [(i, j) for i in range(P) for j in range(P, UNITS)]
OVERLAPS = len(_pairs){trained}
FIRST = np.array([i for i, _ in _pairs])
SECOND = np.array([j for _, j in _pairs])"""


def assembled(model: FluctuationModel) -> Iterator[str]:
    """Lines that read C, the weights d of D, and the numbers among the parameters."""
    packed = model.parameters
    wanted = ("eta", "label_noise", "inverse_batch", *(("eta_second",) if model.trained else ()))
    for name in wanted:
        yield f"{name} = parameters[{packed.index(name)}]"
    C, overlaps = COVARIANCE.name, model.p * (model.p + 1) // 2
    yield f"{C} = np.zeros((UNITS, UNITS))"
    yield "k = 0"
    yield "for i in range(P):"
    yield f"{INDENT}for j in range(i, P):"
    yield f"{INDENT * 2}{C}[i, j] = {C}[j, i] = y[k]"
    yield f"{INDENT * 2}k += 1"
    yield "for i in range(P):"
    yield f"{INDENT}for j in range(P, UNITS):"
    yield f"{INDENT * 2}{C}[i, j] = {C}[j, i] = y[{overlaps} + i * PSTAR + j - P]"
    if model.teacher == "general":
        yield f"k = {packed.index('T_1_1')}"
        yield "for i in range(P, UNITS):"
        yield f"{INDENT}for j in range(i, UNITS):"
        yield f"{INDENT * 2}{C}[i, j] = {C}[j, i] = parameters[k]"
        yield f"{INDENT * 2}k += 1"
    else:
        yield "for i in range(P, UNITS):"
        yield f"{INDENT}{C}[i, i] = 1.0"
    student, teacher = "a", "-b"
    if model.weighted:
        first = overlaps + model.p * model.pstar
        student += f" * y[{first} + i]" if model.trained else f" * parameters[{packed.index('v_1')} + i]"
        teacher += f" * parameters[{packed.index('vstar_1')} + r]"
    d = UNIT_WEIGHTS.name
    yield ""
    output = "z_m^2" if model.quadratic else "sigma_m(z_m)"
    yield f"# The weights of units in e = sum_m d_m {output} - noise, students first."
    yield f"{d} = np.empty({SIZES[UNIT_WEIGHTS.rows]})"
    yield "for i in range(P):"
    yield f"{INDENT}{d}[i] = {student}"
    yield "for r in range(PSTAR):"
    yield f"{INDENT}{d}[P + r] = {teacher}"


def changes(model: FluctuationModel) -> Iterator[str]:
    """Lines with the coefficients of e z_i z_j and e² z_i z_j in the change of each order parameter."""
    yield "# One sample changes N times the overlap of i and j by linear e z_i z_j + square e^2 z_i z_j."
    yield "# The weights of teachers rest."
    yield "kappa = np.zeros(UNITS)"
    yield "for i in range(P):"
    yield f"{INDENT}kappa[i] = 2.0 * eta * d[i]"
    yield "linear = np.empty(STATE_SIZE)"
    yield "square = np.zeros(STATE_SIZE)"
    yield "mean = np.empty(STATE_SIZE)"
    yield "for A in range(STATE_SIZE):"
    yield f"{INDENT}i, j = FIRST[A], SECOND[A]"
    yield f"{INDENT}linear[A] = -(kappa[i] + kappa[j])"
    yield f"{INDENT}square[A] = kappa[i] * kappa[j] * inverse_batch"
    if model.trained:
        yield f"{INDENT}if A >= OVERLAPS:"
        yield f"{INDENT * 2}linear[A], square[A] = -eta_second * a, 0.0"
    yield f"{INDENT}mean[A] = linear[A] * E1[i, j] + square[A] * E2[i, j]"


def _products(written: FluctuationProgram) -> Iterator[str]:
    """Lines that write the covariance of the changes of each two order parameters."""
    yield "for A in range(STATE_SIZE):"
    yield f"{INDENT}i, j = FIRST[A], SECOND[A]"
    yield f"{INDENT}for B in range(A, STATE_SIZE):"
    inner = ["k, l = FIRST[B], SECOND[B]", "total = -mean[A] * mean[B]"]
    factors = {
        2: "linear[A] * linear[B]",
        3: "linear[A] * square[B] + square[A] * linear[B]",
        4: "square[A] * square[B]",
    }
    # Only changes of Q have a square, and its entries come first.
    conditions = {2: "", 3: "if A < PAIRS:", 4: "if B < PAIRS:"}
    for power in POWERS:
        lines = [f"moment{power} = ("]
        for K, H in written.moments[power]:
            k, h = K.name, H.name
            sign = "+ " if len(lines) > 1 else ""
            pairings = (f"{k}[i, j] * {h}[k, l]", f"{k}[i, k] * {h}[j, l]", f"{k}[i, l] * {h}[j, k]")
            lines.append(f"{INDENT}{sign}{' + '.join(pairings)}")
        lines += [")", f"total += ({factors[power]}) * moment{power}"]
        condition = conditions[power]
        inner += [condition, *(INDENT + line for line in lines)] if condition else lines
    inner += ["out[A, B] = out[B, A] = total * inverse_batch"]
    yield from (INDENT * 2 + line for line in inner)


REMOVE_GROWTH = '''
@_compiled
def _remove_growth(y, out):
    """Apply the derivative of the rescaling of students to the rows and to the columns of out.

    A change of Q_ij by x_ij, of R_ir by x_ir becomes x_ij - (g_i + g_j) Q_ij, x_ir - g_i R_ir with
    g_i = x_ii / (2 Q_ii).
    """
    growth = np.empty((P, STATE_SIZE))
    for side in range(2):
        k = 0
        for i in range(P):
            for B in range(STATE_SIZE):
                growth[i, B] = 0.5 * out[k, B] / y[k]
            k += P - i
        for A in range(OVERLAPS):
            i, j = FIRST[A], SECOND[A]
            for B in range(STATE_SIZE):
                out[A, B] -= y[A] * growth[i, B]
                if A < PAIRS:
                    out[A, B] -= y[A] * growth[j, B]
                if A < PAIRS and i == j:
                    out[A, B] = 0.0
        for A in range(STATE_SIZE):
            for B in range(A):
                out[A, B], out[B, A] = out[B, A], out[A, B]
'''

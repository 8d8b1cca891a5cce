"""Writes the ODE of the bias at order 1/N for the Numba module of the fluctuations; see `bias_program`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from derive.emit.looped_body import LoopedBody
from derive.emit.numba_module import generated_function, is_unrolled
from derive.emit.python_source import INDENT, function_text
from derive.emit.unrolled_body import UnrolledBody
from derive.expansion import operation_count
from derive.fluctuations.bias_program import LENGTH, PAIR
from derive.fluctuations.fluctuation_model import FluctuationModel
from derive.fluctuations.fluctuation_module import FREE_DIFFUSION, assembled, changes
from derive.model import Model
from derive.overlap_program import state_of
from derive.program import Program
from derive.tangent import SECOND_PREFIX, differentiate


def derivatives(model: Model, functions: Mapping[str, Program]) -> dict[str, Program]:
    """First and second derivatives of the drift and of the loss, by the names of their functions."""
    state = state_of(model)
    first = {"tangent": functions["tangent"], "loss_tangent": differentiate(functions["loss"], state)}
    second = {f"second_{name}": differentiate(part, state, SECOND_PREFIX) for name, part in first.items()}
    return first | second


def bias_operations(model: FluctuationModel, parts: Mapping[str, Program]) -> int:
    """The floating-point operations of rhs_with_bias, without those of rhs."""
    first, second = (operation_count(parts[name]) for name in ("tangent", "second_tangent"))
    return first + model.state_size * second


def bias_functions(model: FluctuationModel, parts: Mapping[str, Program], program: Program) -> list[str]:
    """The functions that integrate the bias: `parts` are derivatives, `program` has the moments of b."""
    bodies = {
        name: (UnrolledBody if is_unrolled(model, name, part) else LoopedBody)(model, part)
        for name, part in parts.items()
    }
    sections = [generated_function(name, body) for name, body in bodies.items()]
    if model.flow == "sgd":
        sections.append(_step_bias(model, program))
    return [*sections, _rhs_with_bias(model), _loss_bias(model)]


# --- the mean of a step ----------------------------------------------------------------------------


def _step_bias(model: FluctuationModel, program: Program) -> str:
    sphere = model.constraint == "sphere"
    lines = [*assembled(model), *LoopedBody(model, program).statements(), "", *changes(model)]
    if sphere:
        lines += [
            "noise = np.empty((STATE_SIZE, STATE_SIZE))",
            f"{FREE_DIFFUSION}(y, parameters, noise)",
            "# Where the norm of each student is, and its relative change by b.",
            "norms = np.empty(P, np.int64)",
            "growth = np.zeros(UNITS)",
        ]
    else:
        place = model.parameters.index("weight_decay")
        lines += [f"decay = eta * parameters[{place}]"]
    length, pair = (f"{matrix.name}[i, j]" for matrix in (LENGTH, PAIR))
    lines += [
        "for A in range(STATE_SIZE):",
        f"{INDENT}i, j = FIRST[A], SECOND[A]",
        f"{INDENT}out[A] = 0.0",
        f"{INDENT}if A < PAIRS:",
        f"{INDENT * 2}out[A] = kappa[i] * kappa[j] * (",
        f"{INDENT * 3}inverse_batch * {length} + (1.0 - inverse_batch) * {pair}",
        f"{INDENT * 2})",
    ]
    lines += _rescaled() if sphere else _decayed()
    words = "Write b into out: one step changes y by (rhs + b/N)/N on average."
    return function_text("step_bias", "y, parameters, out", words, lines)


def _decayed() -> Iterator[str]:
    """Lines that add the products of weight decay with the change of the sample, and with itself."""
    yield f"{INDENT * 2}out[A] += decay * (decay * y[A] - 2.0 * mean[A])"
    yield f"{INDENT}elif A < OVERLAPS:"
    yield f"{INDENT * 2}out[A] -= decay * mean[A]"


def _rescaled() -> Iterator[str]:
    """Lines that rescale students to their norms, up to the second order of the change."""
    yield f"{INDENT}if A < PAIRS and i == j:"
    yield f"{INDENT * 2}norms[i] = A"
    yield f"{INDENT * 2}growth[i] = out[A] / y[A]"
    yield "for A in range(STATE_SIZE):"
    yield f"{INDENT}for B in range(STATE_SIZE):"
    yield f"{INDENT * 2}noise[A, B] += mean[A] * mean[B]"
    yield "for A in range(OVERLAPS):"
    yield f"{INDENT}i, j = FIRST[A], SECOND[A]"
    yield f"{INDENT}for side in range(2 if A < PAIRS else 1):"
    yield f"{INDENT * 2}unit = i if side == 0 else j"
    yield f"{INDENT * 2}B = norms[unit]"
    yield f"{INDENT * 2}out[A] -= 0.5 * (y[A] * growth[unit] + noise[A, B] / y[B])"
    yield f"{INDENT * 2}out[A] += 0.375 * y[A] * noise[B, B] / y[B] ** 2"
    yield f"{INDENT}if A < PAIRS:"
    yield f"{INDENT * 2}B, k = norms[i], norms[j]"
    yield f"{INDENT * 2}out[A] += 0.25 * y[A] * noise[B, k] / (y[B] * y[k])"
    yield f"{INDENT * 2}if i == j:"
    yield f"{INDENT * 3}out[A] = 0.0"


# --- the ODE, and the loss -------------------------------------------------------------------------


def _rhs_with_bias(model: FluctuationModel) -> str:
    size = model.extended_size
    discrete = " - 0.5 * dy[i]" if model.flow == "sgd" else ""
    lines = [
        "rhs(y, parameters, dy)",
        "direction = np.empty(STATE_SIZE)",
        "change = np.empty(STATE_SIZE)",
        "for i in range(STATE_SIZE):",
        f"{INDENT}direction[i] = y[{size} + i]{discrete}",
        "tangent(y, parameters, direction, change)",
        "bias = np.zeros(STATE_SIZE)",
    ]
    if model.flow == "sgd":
        lines += ["step_bias(y, parameters, bias)"]
    lines += [
        "_add_vector(bias, change)",
        *_second_order("second_tangent(y, parameters, covariance[k], other, change)"),
        f"{INDENT}for i in range(STATE_SIZE):",
        f"{INDENT * 2}bias[i] += 0.5 * change[i]",
        "for i in range(STATE_SIZE):",
        f"{INDENT}dy[{size} + i] = bias[i]",
    ]
    words = "Write what rhs writes into dy, and then the change of m, which y has after S."
    return function_text("rhs_with_bias", "y, parameters, dy", words, lines)


def _loss_bias(model: FluctuationModel) -> str:
    size = model.extended_size
    lines = [
        f"bias = loss_tangent(y, parameters, y[{size} : {size} + STATE_SIZE])",
        *_second_order("bias += 0.5 * second_loss_tangent(y, parameters, covariance[k], other)"),
        "return bias",
    ]
    return function_text("loss_bias", "y, parameters", "N times the bias of the loss, at y with m.", lines)


def _second_order(call: str) -> Iterator[str]:
    """Lines that add second derivatives along each column of S and its unit vector."""
    yield "# A sum over the second derivatives along the columns S e_k and e_k."
    yield "covariance = _read_symmetric(y, STATE_SIZE, STATE_SIZE)"
    yield "other = np.zeros(STATE_SIZE)"
    yield "for k in range(STATE_SIZE):"
    yield f"{INDENT}other[k - 1 if k else 0] = 0.0"
    yield f"{INDENT}other[k] = 1.0"
    yield f"{INDENT}{call}"

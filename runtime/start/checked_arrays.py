"""Checks the overlaps, teachers, rates and times that a user passes; one line says what is wrong."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from derive.errors import InputError, shown
from derive.model import Model
from runtime.run_options import EVEN_TIMES
from runtime.start.matrix_factors import scaled, sizes_of

Array = NDArray[np.float64]

# Escape times are right to 1e-6 where R0 is at least this many atol (on the sphere, by the default method).
RESOLVED = 100.0
# A smaller local error would be rounding, and no step would be small enough.
SMALLEST_RTOL = 1e-14
# Overlaps from a file or an earlier run carry rounding and integration errors up to these parts of the
# norms of the two vectors whose overlap they are; the errors of runs at loose tolerances are the larger.
_SYMMETRY_TOLERANCE = 1e-8
_EIGENVALUE_TOLERANCE = 1e-6
# Starts of an ensemble are checked in parts of this many, which need little memory.
_CHECKED_TOGETHER = 4096


def as_model(value: Any) -> Model:
    """The value if it is a Model, or the model of a System; else InputError."""
    model = getattr(value, "model", value)
    if not isinstance(model, Model):
        raise InputError("model", f"is of the type {type(value).__name__}, not a Model or a System")
    return model


def require_free_norms(model: Model, what: str) -> None:
    """Raise InputError for a model on the sphere; `what` says what is done for free norms only."""
    if model.constraint != "free":
        raise InputError("constraint", f"{model.constraint!r}: {what} for free norms only")


def real_number(
    option: str, value: Any, *, least: float = -math.inf, strict: bool = False, whole: bool = False
) -> float:
    """A finite float that is at least `least`, or with `strict` greater than it; else InputError.

    With `whole` it is a whole number.
    """
    reject_masked(option, value)
    try:
        # float() would read text, take True for 1, and an array of one number for a number.
        if isinstance(value, (str, bytes, bool, np.bool_)) or np.ndim(value) or np.iscomplexobj(value):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(option, f"{shown(value)} is not a number") from None
    too_small = number <= least if strict else number < least
    if not math.isfinite(number) or too_small or (whole and number != round(number)):
        wanted = "a whole number" if whole else "a finite number"
        if least > -math.inf:
            wanted += f" {'greater than' if strict else 'of at least'} {least:g}"
        raise InputError(option, f"{shown(value)} is not {wanted}")
    return number


def reject_masked(option: str, value: Any) -> None:
    """Raise InputError for a masked array, perhaps in lists, with masked entries, which have no value."""
    waiting, seen = [value], set()
    while waiting:
        item = waiting.pop()
        if isinstance(item, np.ma.MaskedArray):
            if np.ma.is_masked(item):
                raise InputError(option, "has masked entries: leave them out, or fill them")
        # A list that contains itself is looked at only once.
        elif isinstance(item, (list, tuple)) and id(item) not in seen:
            seen.add(id(item))
            waiting.extend(x for x in item if isinstance(x, (list, tuple, np.ma.MaskedArray)))


def axis_count(option: str, value: ArrayLike) -> int:
    """The number of axes of an array or nested lists; InputError for lists of unequal lengths."""
    reject_masked(option, value)
    try:
        return np.ndim(value)
    except ValueError:
        raise InputError(option, "is not an array of numbers") from None


def listed(option: str, value: Any) -> list[Any]:
    """The values of a list, a tuple, a range or an array, one by one; a single value is a list of one.

    The caller checks each value. Sets and generators, whose order or length is not known, count as single
    values.
    """
    if axis_count(option, value) == 0:
        return [value]
    return list(value) if isinstance(value, (list, tuple, range)) else list(np.asanyarray(value))


def real_array(option: str, value: ArrayLike, shape: tuple[int, ...], *, finite: bool = True) -> Array:
    """A new float64 array in C order of exactly this shape, without NaN if `finite`; else InputError."""
    reject_masked(option, value)
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        raise InputError(option, "is not an array of numbers") from None
    # Other types are rejected, since strings would convert, and complex numbers lose their imaginary part.
    if array.dtype.kind not in "iuf":
        raise InputError(option, f"has the type {array.dtype}, not real numbers")
    if array.shape != shape:
        raise InputError(option, f"has the shape {array.shape}, not {shape}")
    # Compiled code expects rows in C order; NumPy's default would keep any other layout.
    array = array.astype(np.float64, order="C")
    if finite and not np.isfinite(array).all():
        first = np.argwhere(~np.isfinite(array))[0].tolist()
        raise InputError(option, f"has entries that are not finite, the first at {first}")
    return array


def vectors(option: str, value: ArrayLike, size: int) -> Array:
    """New float64 vectors (..., size) in C order, which may hold NaN; else InputError."""
    if axis_count(option, value) == 0 or np.shape(value)[-1] != size:
        raise InputError(option, f"has the shape {np.shape(value)}, not (..., {size})")
    return real_array(option, value, np.shape(value), finite=False)


def per_trajectory(
    option: str, value: ArrayLike, count: int, least: float, strict: bool, whole: bool = False
) -> Array:
    """A number, or one per trajectory, as an array of length 1 or `count`; else InputError."""
    if axis_count(option, value) == 0:
        return np.array([real_number(option, value, least=least, strict=strict, whole=whole)])
    array = real_array(option, value, (count,), finite=False)
    right = np.isfinite(array) & (array > least if strict else array >= least)
    if whole:
        right &= array == np.rint(array)
    if not right.all():
        k = int(np.argmin(right))
        wanted = f"{'greater than' if strict else 'of at least'} {least:g}"
        kind = "whole" if whole else "finite"
        raise InputError(option, f"trajectory {k}: {array[k]:g} is not a {kind} number {wanted}")
    return array


def _apart(matrices: Array) -> Array:
    """How far the entries of matrices (…, m, m) are from those of their transposes."""
    # Entries near the largest float differ by more than a float can hold.
    with np.errstate(over="ignore"):
        return np.asarray(np.abs(matrices - np.swapaxes(matrices, -1, -2)))


def _asymmetric(matrices: Array) -> NDArray[np.bool_]:
    """Which matrices (…, m, m) differ from their transposes, relative to the norms of rows and columns."""
    apart = _apart(matrices)
    if not apart.any():
        return np.zeros(matrices.shape[:-2], dtype=np.bool_)
    sizes = sizes_of(matrices)
    allowed = _SYMMETRY_TOLERANCE * sizes[..., :, None] * sizes[..., None, :]
    return np.asarray(np.any(apart > allowed, axis=(-1, -2)))


def _require_symmetric(option: str, matrix: Array, whose: str = "") -> None:
    if _asymmetric(matrix):
        asymmetry = float(np.max(_apart(matrix)))
        raise InputError(option, f"{whose}is not symmetric: entries differ by up to {asymmetry:.3g}")


def symmetrised(matrices: Array) -> Array:
    """(M + Mᵀ)/2 of matrices (..., m, m)."""
    # Each is halved first: the largest floats must not overflow.
    return 0.5 * matrices + 0.5 * np.swapaxes(matrices, -1, -2)


def symmetric_part(option: str, matrices: Array) -> Array:
    """(M + Mᵀ)/2 of matrices (..., m, m); InputError names the first that is not symmetric."""
    for index in np.argwhere(_asymmetric(matrices))[:1].tolist():
        whose = f"row {', '.join(map(str, index))} " if index else ""
        _require_symmetric(option, matrices[tuple(index)], whose)
    return symmetrised(matrices)


def joint_overlaps(Q: Array, R: Array, T: Array) -> Array:
    """[[Q, R], [Rᵀ, T]] of overlaps (k, p, p) and (k, p, p*) and a single T (p*, p*)."""
    teacher = np.broadcast_to(T, (len(Q), *T.shape))
    return np.block([[Q, R], [np.swapaxes(R, -1, -2), teacher]])


def correlations(matrix: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Overlaps (…, n, n) of vectors that are scaled to norm 1, and which matrices cannot be overlaps.

    These have a negative norm, or a norm of zero beside overlaps that are not zero. A vector of norm zero
    becomes one of norm 1 that is orthogonal to the others.
    """
    sizes = sizes_of(matrix)
    none = sizes == 0.0
    result = scaled(matrix, sizes)
    if not none.any():
        return result, np.zeros(matrix.shape[:-2], dtype=np.bool_)
    diagonal = np.arange(matrix.shape[-1])
    result[..., diagonal, diagonal] += none
    return result, np.asarray(np.any((matrix != 0.0) & none[..., :, None], axis=(-1, -2)))


def _require_positive(option: str, matrix: Array, whose: str = "") -> None:
    """Raise InputError if a matrix has a negative eigenvalue when all its vectors are scaled to norm 1."""
    unit, impossible = correlations(matrix)
    if impossible:
        least = float(np.min(np.diag(matrix)))
        what = f"its diagonal has {least:.3g}" if least < 0.0 else "a norm is 0, but not all its overlaps"
    else:
        least = float(np.linalg.eigvalsh(unit)[0])
        what = f"smallest eigenvalue {least:.3g} when all norms are scaled to 1"
    if impossible or least < -_EIGENVALUE_TOLERANCE:
        raise InputError(option, f"{whose}is not positive semi-definite: {what}")


def teacher_overlaps(model: Model, T: ArrayLike | None) -> Array:
    """T of shape (p*, p*): the given one for a general teacher, the identity otherwise."""
    if T is None:
        if model.teacher == "general":
            raise InputError("T", "is required: the model has a general teacher")
        return np.eye(model.pstar)
    matrix = real_array("T", T, (model.pstar, model.pstar))
    if model.teacher == "orthonormal":
        if not np.array_equal(matrix, np.eye(model.pstar)):
            raise InputError("T", "is not 1, but the model has an orthonormal teacher: teacher='general'")
        return matrix
    _require_symmetric("T", matrix)
    _require_positive("T", matrix)
    return matrix


def overlaps(model: Model, Q: ArrayLike, R: ArrayLike, T: Array) -> tuple[Array, Array]:
    """Q (p, p) and R (p, p*) that are the overlaps of some weights with teacher overlaps T.

    Raises
    ------
    InputError
        Wrong shapes, entries that are not finite, Q asymmetric, zero norms on the sphere, or
        [[Q, R], [Rᵀ, T]] not positive semi-definite: with all norms scaled to 1 its smallest
        eigenvalue is below −10⁻⁶, more than the error of a run that may have ended there.
    """
    q = real_array("Q0", Q, (model.p, model.p))
    r = real_array("R0", R, (model.p, model.pstar))
    _require_symmetric("Q0", q)
    _require_positive("Q0", q)
    _require_positive("R0", np.block([[q, r], [r.T, T]]), "belongs to no weights: [[Q0, R0], [R0', T]] ")
    if model.constraint == "sphere" and np.min(np.diag(q)) <= 0.0:
        raise InputError("Q0", "has a student of norm zero, which the sphere cannot rescale")
    return q, r


def ensemble_overlaps(model: Model, Q: ArrayLike, R: ArrayLike, T: Array) -> tuple[Array, Array]:
    """As `overlaps` with a leading axis of trajectories; errors name the first wrong one."""
    if axis_count("Q0", Q) != 3 or np.shape(Q)[0] == 0:
        raise InputError("Q0", f"has the shape {np.shape(Q)}, not (trajectories, {model.p}, {model.p})")
    count = np.shape(Q)[0]
    q = real_array("Q0", Q, (count, model.p, model.p))
    r = real_array("R0", R, (count, model.p, model.pstar))
    for first in range(0, count, _CHECKED_TOGETHER):
        part = slice(first, first + _CHECKED_TOGETHER)
        wrong = _suspects(q[part], r[part], T)
        if model.constraint == "sphere":
            wrong |= np.min(np.diagonal(q[part], axis1=1, axis2=2), axis=1) <= 0.0
        for k in np.flatnonzero(wrong).tolist():
            try:
                overlaps(model, q[first + k], r[first + k], T)
            except InputError as error:
                raise InputError(error.option, f"trajectory {first + k} {error.problem}") from None
    return q, r


def state_overlaps(
    model: Model, Q: ArrayLike, R: ArrayLike, T: Array, suffix: str = ""
) -> tuple[Array, Array]:
    """As `overlaps` with any leading axes; errors call the arguments Q and R followed by `suffix`."""
    leading = np.shape(Q)[:-2] if axis_count(f"Q{suffix}", Q) else ()
    q = real_array(f"Q{suffix}", Q, (*leading, model.p, model.p))
    r = real_array(f"R{suffix}", R, (*leading, model.p, model.pstar))
    try:
        if not leading:
            overlaps(model, q, r, T)
        elif q.size:
            ensemble_overlaps(model, q.reshape(-1, *q.shape[-2:]), r.reshape(-1, *r.shape[-2:]), T)
    except InputError as error:
        option, problem = (
            text.replace("Q0", f"Q{suffix}").replace("R0", f"R{suffix}")
            for text in (error.option, error.problem)
        )
        raise InputError(option, problem) from None
    return q, r


def _suspects(Q: Array, R: Array, T: Array) -> NDArray[np.bool_]:
    """Which pairs may fail to be overlaps of weights, by a quick test; `overlaps` then decides."""
    unit, impossible = correlations(joint_overlaps(Q, R, T))
    wrong = _asymmetric(Q) | impossible
    # Cholesky's factor of a shifted matrix exists if the smallest eigenvalue is above the shift,
    # and is many times faster than eigenvalues.
    shift = 0.5 * _EIGENVALUE_TOLERANCE
    try:
        np.linalg.cholesky(unit + shift * np.eye(unit.shape[-1]))
    except np.linalg.LinAlgError:
        wrong |= np.linalg.eigvalsh(unit)[:, 0] < -shift
    return np.asarray(wrong)


def tolerances(rtol: Any, atol: Any) -> tuple[float, float]:
    """rtol, at least SMALLEST_RTOL, and atol, greater than 0; else InputError."""
    relative = real_number("rtol", rtol, least=SMALLEST_RTOL)
    return relative, real_number("atol", atol, least=0.0, strict=True)


def warn_if_unresolved(R: Array, atol: float, stacklevel: int) -> bool:
    """Warn if overlaps R (..., p, p*) of a start are not zero, but too small for `atol`; returns if it did.

    The bound of a step's error, atol + rtol·|y|, does not limit the error of a smaller R: while R grows
    it keeps an error that shifts the time of the escape (see docs/known-issues.md).
    """
    largest = np.max(np.abs(R), axis=(-2, -1))
    if not np.any((largest > 0.0) & (largest < RESOLVED * atol)):
        return False
    # The text does not name R, so that Python shows the warning only once.
    warnings.warn(
        f"R0 is not zero, but smaller than {RESOLVED:g} atol = {RESOLVED * atol:.3g}: the time of escape"
        " may be wrong by more than 1e-6 of itself; take a smaller atol",
        stacklevel=stacklevel + 1,
    )
    return True


def output_times(alpha: ArrayLike, start: float = 0.0) -> Array:
    """Times of output: a number is the end of 201 even ones from `start` on, an array is used as it is.

    Raises
    ------
    InputError
        Not finite and after the start, or an array that does not ascend from the start or later.
    """
    if axis_count("alpha", alpha) == 0:
        end = real_number("alpha", alpha, least=0.0, strict=True)
        if end <= start:
            raise InputError("alpha", f"{end:g} is not after {start:g}, the time of the start")
        return np.linspace(start, end, EVEN_TIMES)
    count = np.size(alpha)
    if count == 0:
        raise InputError("alpha", "has no times")
    times = real_array("alpha", alpha, (count,))
    if times[0] < start or np.any(np.diff(times) <= 0.0):
        wrong = times[:1] if times[0] < start else times[1:][np.diff(times) <= 0.0]
        least = f"{start:g}, the time of the start," if start else "0"
        raise InputError(
            "alpha", f"{wrong[0]:g} is out of place: times are {least} or more and strictly ascending"
        )
    return times

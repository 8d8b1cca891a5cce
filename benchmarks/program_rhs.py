"""Right-hand sides of any activation for peers: our program as array operations, or entry by entry.

Each matrix statement is one product of matrices and each entry by entry statement one product of arrays, so
that NumPy and JAX have as little to do as with equations that are written by hand.
"""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np

from derive import readout
from derive.expansion import evaluate
from derive.model import Model
from derive.pipeline import Pipeline
from derive.program import (
    EntryStatement,
    EntryTerm,
    Matrix,
    MatrixStatement,
    Operand,
    PairProducts,
    Program,
    RowSum,
    ScalarStatement,
    Statement,
    VectorStatement,
)
from derive.scalar_polynomials import ScalarPolynomial


def constants(model: Model, eta: float) -> dict[str, float]:
    """The readout and the run-time parameters by name: η, and the others at their defaults."""
    weights = dict(zip("ab", readout.weights(model), strict=True))
    return {**weights, "eta": eta, "label_noise": 0.0, "weight_decay": 0.0, "inverse_batch": 1.0}


class ProgramArrays:
    """f(t, y) of a free model with weights of 1 and T = 1, in functions of NumPy or `jax.numpy`."""

    def __init__(self, model: Model, eta: float, arrays: ModuleType) -> None:
        self.program: Program = Pipeline.of(model).functions["rhs"]
        self.model, self.arrays, self.constants = model, arrays, constants(model, eta)
        self.upper = np.triu_indices(model.p)
        self.full = np.zeros((model.p, model.p), dtype=int)
        self.full[self.upper] = self.full.T[self.upper] = np.arange(self.upper[0].size)

    def __call__(self, _t: float, y: Any, _args: Any = None) -> Any:
        head = self.upper[0].size
        known: dict[str, Any] = dict(self.constants)
        known |= {"Q": y[self.full], "R": y[head:].reshape(self.model.p, self.model.pstar)}
        for statement in self.program.statements:
            target = statement.target
            known[target if isinstance(target, str) else target.name] = self._value(statement, known)
        return self.arrays.concatenate([known["dQ"][self.upper], known["dR"].ravel()])

    def _value(self, statement: Statement, known: dict[str, Any]) -> Any:
        match statement:
            case ScalarStatement():
                total = self._polynomial(statement.polynomial, known)
                for contraction in statement.contractions:
                    if contraction.left is not None:
                        raise NotImplementedError("contractions of matrices")
                    summed = self.arrays.sum(math.prod(known[vector.name] for vector in contraction.rows))
                    total = total + self._polynomial(contraction.coefficient, known) * summed
                return total
            case MatrixStatement():
                total = 0.0
                for term in statement.terms:
                    factors = [self._operand(operand, known) for operand in term.operands]
                    product = factors[0] @ factors[1] if len(factors) == 2 else factors[0]
                    total = total + (term.sign * known[term.scalar] if term.scalar else term.sign) * product
                return total
            case EntryStatement(target, terms):
                return self._entries(target, terms, known)
            case VectorStatement(vector, terms):
                total = self.arrays.zeros(self.program.size(vector.rows))
                for term in terms:
                    parts = [known[part.name] for part in (*term.rows, *term.columns)]
                    parts += [self.arrays.diagonal(self._operand(x, known)) for x in term.operands]
                    total = total + self._scale(term, known) * math.prod(parts)
                return total
            case RowSum(_, terms):
                return sum(self._product(term, known).sum(axis=1) for term in terms)
            case PairProducts(_, left, right):
                return known[left.name][self.upper[0]] * known[right.name][self.upper[1]]
        raise NotImplementedError(f"{type(statement).__name__} as array operations")

    def _polynomial(self, polynomial: ScalarPolynomial, known: dict[str, Any]) -> Any:
        terms = polynomial.sorted_terms()
        return sum(float(value) * math.prod(known[name] for name in names) for names, value in terms)

    def _operand(self, operand: Operand, known: dict[str, Any]) -> Any:
        value = known[operand.matrix.name]
        return value.T if operand.transposed else value

    def _scale(self, term: EntryTerm, known: dict[str, Any]) -> Any:
        return float(term.coefficient) * math.prod(known[name] for name in term.scalars)

    def _product(self, term: EntryTerm, known: dict[str, Any]) -> Any:
        factors = [self._scale(term, known)]
        factors += [known[vector.name][:, None] for vector in term.rows]
        factors += [known[vector.name][None, :] for vector in term.columns]
        factors += [self._operand(operand, known) for operand in term.operands]
        factors += [known[vector.name][self.full] for vector in term.pairs]
        return math.prod(factors)

    def _entries(self, target: Matrix, terms: tuple[EntryTerm, ...], known: dict[str, Any]) -> Any:
        shape = tuple(self.program.size(axis) for axis in (target.rows, target.columns))
        return self.arrays.zeros(shape) + sum(self._product(term, known) for term in terms)


def heyoka_equations(model: Model, eta: float) -> list[tuple[Any, Any]]:
    """The equations entry by entry, as pairs of a variable and its derivative."""
    import heyoka as hy

    variables = hy.make_vars(*model.state)
    known: dict[str, Any] = {**constants(model, eta), **dict(zip(model.state, variables, strict=True))}

    def combine(terms: Any) -> Any:
        products = [float(value) * math.prod(factors) for value, factors in terms]
        if any(isinstance(product, hy.expression) for product in products):
            return hy.sum([hy.expression(x) if isinstance(x, float) else x for x in products])
        return sum(products)

    values = evaluate(Pipeline.of(model).functions["rhs"], known, combine, lambda value: 1.0 / value)
    return list(zip(variables, values.values(), strict=True))

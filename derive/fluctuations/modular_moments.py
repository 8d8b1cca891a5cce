"""Both routes to the diffusion matrix at one point, in integers modulo a prime; see `fluctuation_proof`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from derive.fluctuations.fluctuation_model import FluctuationModel
from derive.fluctuations.fluctuation_program import (
    COVARIANCE,
    FIRST_MEAN,
    HIGHEST,
    POWERS,
    SECOND_MEAN,
    UNIT_WEIGHTS,
    FluctuationProgram,
)
from derive.program import EntryStatement, EntryTerm, Matrix, MatrixStatement, Program, ScalarStatement
from derive.proof import ProofError, covariance_names, sphere_slopes

Residues = NDArray[Any]


def first_difference(left: Residues, right: Residues) -> tuple[int, int] | None:
    """The row and column of the first entry in which two matrices differ; None if they are equal."""
    places = np.argwhere(left != right)
    return (int(places[0, 0]), int(places[0, 1])) if places.size else None


def component_pairs(model: FluctuationModel) -> tuple[list[int], list[int]]:
    """The two units, from 0, of each order parameter: i and j of Q_ij and R_ij, and i twice of v_i."""
    p, units = model.p, model.p + model.pstar
    pairs = [(i, j) for i in range(p) for j in range(i, p)]
    pairs += [(i, j) for i in range(p) for j in range(p, units)]
    pairs += [(i, i) for i in range(p) if model.trained]
    return [i for i, _ in pairs], [j for _, j in pairs]


def _scaled_rows(term: EntryTerm) -> EntryTerm | None:
    """The same term if it is a matrix whose rows have factors, the only kind that there is a rule for."""
    if len(term.rows) != 1 or len(term.operands) != 1:
        return None
    return EntryTerm.of(term.coefficient, term.operands[0].matrix, rows=term.rows)


class ModularMoments:
    """Both routes at one point of parameters and order parameters, modulo a prime."""

    def __init__(self, model: FluctuationModel, values: Mapping[str, int], prime: int) -> None:
        self.model, self.values, self.prime = model, values, prime
        rows = [[values[x] if isinstance(x, str) else x for x in row] for row in covariance_names(model)]
        self.C = np.array(rows, dtype=np.int64)
        students, teachers = range(1, model.p + 1), range(1, model.pstar + 1)
        self.d = np.array(
            [values["a"] * values.get(f"v_{i}", 1) % prime for i in students]
            + [-values["b"] * values.get(f"vstar_{r}", 1) % prime for r in teachers]
        )
        self.kappa = np.array(
            [2 * values["eta"] * int(d) % prime for d in self.d[: model.p]] + [0] * model.pstar
        )

    # --- the change of a step, in terms of the moments of either route -------------------------

    def changes(self, moments: Mapping[int, Residues]) -> tuple[Residues, Residues, Residues]:
        """The coefficients of e z z and e² z z in the change of each order parameter, and its mean."""
        model, prime = self.model, self.prime
        i, j = (np.array(side) for side in component_pairs(model))
        overlaps = np.arange(model.state_size) < model.state_size - model.p * model.trained
        rate = self.values["eta_second"] * self.values["a"] % prime if model.trained else 0
        linear = np.where(overlaps, -self.kappa[i] - self.kappa[j], -rate) % prime
        square = self.kappa[i] * self.kappa[j] % prime * self.values["inverse_batch"]
        square = np.where(overlaps, square, 0) % prime
        return linear, square, (linear * moments[-1][i, j] + square * moments[-2][i, j]) % prime

    def free_diffusion(self, moments: Mapping[int, Residues]) -> Residues:
        """As `diffusion`, before students are rescaled."""
        prime = self.prime
        linear, square, mean = self.changes(moments)
        factors = {
            2: np.outer(linear, linear),
            3: np.outer(linear, square) % prime + np.outer(square, linear) % prime,
            4: np.outer(square, square),
        }
        total = -np.outer(mean, mean) % prime
        for power in POWERS:
            total = (total + factors[power] % prime * moments[power]) % prime
        return np.asarray(total * self.values["inverse_batch"] % prime)

    def diffusion(self, moments: Mapping[int, Residues]) -> Residues:
        """𝓓 (n, n) from the moments E[e z zᵀ] and E[e² z zᵀ], and E[eⁿ z z z z] by n ≥ 2.

        Those of two factors are under the keys −1 and −2; those of four have the order parameters as rows
        and columns.
        """
        found, prime = self.free_diffusion(moments), self.prime
        if self.model.constraint == "sphere":
            P = self._rescaling()
            found = (P @ found % prime) @ P.T % prime
        return np.asarray(found)

    def _rescaling(self) -> Residues:
        """The derivative of the rescaled overlaps by those that a step makes, as in `derive.proof`."""
        names, values, prime = self.model.state, self.values, self.prime
        slopes = [x.numerator * pow(x.denominator, -1, prime) for x in sphere_slopes()]
        position = {name: k for k, name in enumerate(names)}
        P = np.eye(len(names), dtype=np.int64)
        for k, name in enumerate(names):
            letter, i, *other = name.split("_")
            if letter == "v":
                continue
            scaled = [i, *other] if letter == "Q" else [i]
            slope = slopes[0] if letter == "Q" else slopes[1]
            for index in scaled:
                norm = f"Q_{index}_{index}"
                P[k, position[norm]] += slope * values[name] * pow(values[norm], -1, prime) % prime
        return P % prime

    # --- route 1 -----------------------------------------------------------------------------

    @cached_property
    def by_parts(self) -> tuple[list[int], list[Residues], list[Residues]]:
        """By n, E[eⁿ], E[eⁿ z z] and E[eⁿ z z z z] of all units, by Stein's lemma."""
        C, d, prime, noise = self.C, self.d, self.prime, self.values["label_noise"]
        CD = C * d % prime
        scalar, two, four = [1], [C], [self._joined(C, C)]
        for n in range(1, HIGHEST + 1):
            # e is one of the z_m² d_m, or −√Δ ξ, whose derivative by ξ is taken.
            closed = int(np.sum(d * np.diagonal(two[n - 1]) % prime))
            noisy = noise * (n - 1) * scalar[n - 2] if n > 1 else 0
            scalar.append((closed + noisy) % prime)
            two.append((C * scalar[n] + 2 * n * (CD @ two[n - 1] % prime)) % prime)
            inner = np.tensordot(CD, four[n - 1], axes=1) % prime
            four.append((self._joined(C, two[n]) + 2 * n * inner) % prime)
        return scalar, two, four

    def moments_by_parts(self) -> dict[int, Residues]:
        """The moments for `diffusion`."""
        _, two, four = self.by_parts
        i, j = (np.array(side) for side in component_pairs(self.model))
        found = {-1: two[1], -2: two[2]}
        for n in POWERS:
            found[n] = four[n][i[:, None], j[:, None], i, j]
        return found

    def _joined(self, C: Residues, rest: Residues) -> Residues:
        """C_ij rest_kl + C_ik rest_jl + C_il rest_jk (units, units, units, units)."""
        pairings = ("ij,kl->ijkl", "ik,jl->ijkl", "il,jk->ijkl")
        return np.asarray(
            sum(np.einsum(pairing, C, rest) % self.prime for pairing in pairings) % self.prime
        )

    # --- route 2 -----------------------------------------------------------------------------

    def evaluated(self, written: FluctuationProgram) -> dict[int, Residues]:
        """The moments for `diffusion` from the statements of the program."""
        known = self.statements(written.program)
        i, j = (np.array(side) for side in component_pairs(self.model))
        found = {-1: known[FIRST_MEAN.name], -2: known[SECOND_MEAN.name]}
        for power, pairs in written.moments.items():
            total = np.zeros((i.size, i.size), dtype=np.int64)
            for chain, partner in pairs:
                K, H = known[chain.name], known[partner.name]
                total += np.outer(K[i, j], H[i, j]) % self.prime
                total += K[i[:, None], i] * H[j[:, None], j] % self.prime
                total += K[i[:, None], j] * H[j[:, None], i] % self.prime
            found[power] = total % self.prime
        return found

    def statements(self, program: Program) -> dict[str, Any]:
        """What the statements of a program compute, by name."""
        prime = self.prime
        known: dict[str, Any] = {COVARIANCE.name: self.C, UNIT_WEIGHTS.name: self.d}
        known |= {name: self.values[name] for name in program.scalars}

        def number(value: Fraction) -> int:
            return value.numerator * pow(value.denominator, -1, prime) % prime

        for statement in program.statements:
            match statement:
                case ScalarStatement(target, polynomial, contractions):
                    value = polynomial.evaluate(known, number)
                    for part in contractions:
                        if part.right is not None or part.columns or not isinstance(part.left, Matrix):
                            raise ProofError(f"no rule for the contractions of {target}")
                        weight = math.prod(known[vector.name] for vector in part.rows)
                        trace = np.sum(weight * np.diagonal(known[part.left.name]) % prime)
                        value += part.coefficient.evaluate(known, number) * int(trace)
                    known[target] = value % prime
                case EntryStatement(target, (product,)) if product == _scaled_rows(product):
                    (vector,), (operand,) = product.rows, product.operands
                    entries = known[vector.name][:, None] * known[operand.matrix.name] % prime
                    known[target.name] = number(product.coefficient) * entries % prime
                case MatrixStatement(target, terms):
                    total = np.zeros((program.size(target.rows), program.size(target.columns)), np.int64)
                    for term in terms:
                        first, *others = (
                            np.transpose(known[name]) if transposed else known[name]
                            for name, transposed in ((x.matrix.name, x.transposed) for x in term.operands)
                        )
                        value = first @ others[0] % prime if others else first
                        scalar = known[term.scalar] if term.scalar else 1
                        total = (total + term.sign * scalar * value) % prime
                    known[target.name] = total
                case _:
                    raise ProofError(f"no rule for {type(statement).__name__}")
        return known

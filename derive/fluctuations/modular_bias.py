"""Both routes to the mean change of one step at order 1/N, in integers modulo a prime; see `bias_program`.

Route 1 takes the means with zᵀC⁻¹z and C⁻¹ literally: it inverts C, and sums E[e² z z z z] by components.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from derive.fluctuations.bias_program import LENGTH, PAIR
from derive.fluctuations.fluctuation_program import FIRST_MEAN, SECOND_MEAN
from derive.fluctuations.modular_moments import ModularMoments, Residues, component_pairs
from derive.program import Matrix, Program


class ModularBias(ModularMoments):
    """Both routes at one point of parameters and order parameters, modulo a prime."""

    def step_bias(self, moments: Mapping[int, Residues], parts: Mapping[str, Residues]) -> Residues:
        """b (n,) from the moments of `diffusion`, and from the outputs of the program by name."""
        model, values, prime = self.model, self.values, self.prime
        i, j = (np.array(side) for side in component_pairs(model))
        share, kappa, overlaps = values["inverse_batch"], self.kappa, i.size - model.p * model.trained
        y = np.array([values[name] for name in model.state])
        length, pair = parts[LENGTH.name][i, j], parts[PAIR.name][i, j]
        found = kappa[i] * kappa[j] % prime * ((share * length + (1 - share) * pair) % prime) % prime
        found[overlaps:] = 0
        moments = {**moments, -1: parts[FIRST_MEAN.name], -2: parts[SECOND_MEAN.name]}
        mean = self.changes(moments)[2]
        if model.constraint == "free":
            decay = values["eta"] * values["weight_decay"] % prime
            sides = np.where(j < model.p, 2, 1)
            sides[overlaps:] = 0
            squares = np.where(sides == 2, decay * decay % prime * y, 0)
            return np.asarray((found + squares - decay * sides % prime * mean) % prime)
        half, eighth = (pow(k, -1, prime) for k in (2, 8))
        S = (self.free_diffusion(moments) + np.outer(mean, mean)) % prime
        norms = [k for k in range(overlaps) if i[k] == j[k]]
        inverse = np.array([pow(int(y[k]), -1, prime) for k in norms])
        result = np.zeros_like(found)
        for A in range(overlaps):
            units = [int(i[A])] + [int(j[A])] * bool(j[A] < model.p)
            total = int(found[A])
            for unit in units:
                B = norms[unit]
                first = int(y[A]) * int(found[B]) + int(S[A, B])
                total -= half * first * int(inverse[unit])
                total += 3 * eighth * int(y[A]) * int(S[B, B]) * int(inverse[unit]) ** 2
            if len(units) == 2:
                product = int(S[norms[units[0]], norms[units[1]]]) * int(inverse[units[0]])
                total += pow(4, -1, prime) * int(y[A]) * product * int(inverse[units[1]])
            result[A] = total % prime
        return np.asarray(result)

    def parts_by_inverse(self) -> dict[str, Residues]:
        """Route 1: E[e z zᵀ], E[e² z zᵀ], L and M C⁻¹ M."""
        from flint import nmod_mat

        rank, prime = len(self.C), self.prime
        inverted = nmod_mat(rank, rank, [int(x) for x in self.C.flat], prime).inv()
        inverse = np.array([[int(x) for x in row] for row in inverted.tolist()])
        _, two, four = self.by_parts
        length = np.sum(four[2] * inverse % prime, axis=(2, 3)) - rank * two[2]
        pair = (two[1] @ inverse % prime) @ two[1] % prime
        found = {FIRST_MEAN: two[1], SECOND_MEAN: two[2], LENGTH: length % prime, PAIR: pair}
        return {matrix.name: value for matrix, value in found.items()}

    def evaluated_parts(self, program: Program) -> dict[str, Residues]:
        """Route 2: the same from the statements of the program."""
        known = self.statements(program)
        return {output.name: known[output.name] for output in program.outputs if isinstance(output, Matrix)}

"""Our solver and its peers under one interface: prepare once, then run to the end or with 200 outputs."""

from __future__ import annotations

import importlib
import itertools
import math
import os

import numpy as np
from problem import Task, numpy_rhs
from program_rhs import ProgramArrays, heyoka_equations

import derive
import runtime
from runtime.ensemble.engine_plan import EnginePlan
from runtime.ensemble.ensemble_run import EnsembleEngine


def load(task: Task) -> runtime.System:
    """The system of a task, derived anew, since a folder of an older version would stop the benchmark."""
    return runtime.load(derive.overlap_odes(task.model).write("generated"))


class Solver:
    """A solver at one tolerance; `final` returns states (k, 1, n), and `grid` returns (k, outputs, n)."""

    name = ""
    package = ""
    # Slow peers run on this part of the trajectories only.
    share = 1.0

    def __init__(self, task: Task, tolerance: float) -> None:
        self.task, self.tolerance = task, tolerance
        self.prepare()

    @classmethod
    def missing(cls) -> bool:
        if cls.package:
            try:
                importlib.import_module(cls.package)
            except (ImportError, OSError):  # A missing shared library raises OSError.
                return True
        return False

    @property
    def count(self) -> int:
        """Number of trajectories that this solver runs, a multiple of eight."""
        return max(8, int(len(self.task.initial) * self.share) // 8 * 8)

    def prepare(self) -> None: ...

    def final(self, initial: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def grid(self, initial: np.ndarray) -> np.ndarray:
        raise NotImplementedError


class Ours(Solver):
    """The ensemble engine on one thread, with η and Δ at run time. It returns only states, as peers do."""

    method = ""

    def prepare(self) -> None:
        self.system = load(self.task)
        self.engine = EnsembleEngine(self.system, self.method)
        self.parameters = self.system.parameters(self.task.eta)[None, :]

    def _run(self, initial: np.ndarray, times: np.ndarray, output: str, threads: int = 1) -> np.ndarray:
        plan = EnginePlan(
            times, self.tolerance, self.tolerance / 100, output, losses=False, threads=threads
        )
        return self.engine.run(initial, self.parameters, plan).states

    def final(self, initial: np.ndarray, threads: int = 1) -> np.ndarray:
        return self._run(initial, self.task.times[-1:], "final", threads)

    def grid(self, initial: np.ndarray, threads: int = 1) -> np.ndarray:
        return self._run(initial, self.task.times, "all", threads)


class Tsit5(Ours):
    name, method = "overlap-ode tsit5", "tsit5"


class Prince8(Ours):
    name, method = "overlap-ode prince8", "prince8"


class Dop853(Ours):
    name, method = "overlap-ode dop853", "dop853"


class Heyoka(Solver):
    """heyoka's batch Taylor integrator, called directly, with eight lanes and fast_math."""

    name, package = "heyoka batch 8", "heyoka"
    lanes = 8

    def prepare(self) -> None:
        import heyoka

        equations = _heyoka_equations(self.task)
        # The unrolled code of larger systems takes minutes to compile.
        compact = self.task.size > 40 or not self.task.model.quadratic
        options = {"force_avx512": True, "fast_math": True} if _avx512() else {"fast_math": True}
        start = np.ascontiguousarray(self.task.initial[: self.lanes].T)
        self.integrator = heyoka.taylor_adaptive_batch(
            equations, start, tol=self.tolerance, compact_mode=compact, **options
        )
        self.times = np.ascontiguousarray(np.repeat(self.task.times[:, None], self.lanes, axis=1))

    def _batches(self, initial: np.ndarray):
        for first in range(0, len(initial) - self.lanes + 1, self.lanes):
            self.integrator.set_time(0.0)
            self.integrator.state[:] = initial[first : first + self.lanes].T
            yield slice(first, first + self.lanes)

    def final(self, initial: np.ndarray) -> np.ndarray:
        out = np.empty((len(initial), 1, self.task.size))
        for batch in self._batches(initial):
            self.integrator.propagate_until(self.task.end)
            out[batch, 0] = self.integrator.state.T
        return out

    def grid(self, initial: np.ndarray) -> np.ndarray:
        out = np.empty((len(initial), len(self.task.times), self.task.size))
        for batch in self._batches(initial):
            out[batch] = np.moveaxis(self.integrator.propagate_grid(self.times)[-1], 2, 0)
        return out


def _avx512() -> bool:
    from runtime.vector import jit

    return jit.target().name == "avx512"


def _heyoka_equations(task: Task):
    import heyoka as hy

    if not task.model.quadratic:
        return heyoka_equations(task.model, task.eta)
    p, pstar = task.p, task.pstar
    a, b, kappa = 1.0 / p, 1.0 / pstar, 2.0 * task.eta / p
    pairs = list(itertools.combinations_with_replacement(range(p), 2))
    variables = hy.make_vars(
        *(f"q{i}_{j}" for i, j in pairs), *(f"r{i}_{r}" for i in range(p) for r in range(pstar))
    )
    q = dict(zip(pairs, variables, strict=False))
    R = {(i, r): variables[len(pairs) + i * pstar + r] for i in range(p) for r in range(pstar)}
    Q = {**q, **{(j, i): value for (i, j), value in q.items()}}
    students, teachers = range(p), range(pstar)
    s = a * hy.sum([Q[i, i] for i in students]) - b * pstar
    t = (
        a * a * (hy.sum([Q[i, i] * Q[i, i] for i in students]))
        + 2 * a * a * hy.sum([Q[i, j] * Q[i, j] for i, j in pairs if i != j] or [hy.expression(0.0)])
        - 2 * a * b * hy.sum([value * value for value in R.values()])
        + b * b * pstar
    )
    X = {}
    for i, j in pairs:
        X[i, j] = X[j, i] = a * hy.sum([Q[i, k] * Q[k, j] for k in students]) - b * hy.sum(
            [R[i, r] * R[j, r] for r in teachers]
        )
    Y = {(i, r): a * hy.sum([Q[i, k] * R[k, r] for k in students]) - b * R[i, r] for i, r in R}
    q0 = kappa * kappa * (s * s + 2.0 * t) - 2 * kappa * s
    q1, q2 = 4 * kappa * kappa * s - 4 * kappa, 8 * kappa * kappa
    V = {(i, j): (q2 * a) * Q[i, j] + (q1 if i == j else 0.0) for i in students for j in students}
    equations = [
        (
            Q[i, j],
            q0 * Q[i, j]
            + hy.sum([X[i, k] * V[k, j] for k in students])
            - (q2 * b) * hy.sum([Y[i, r] * R[j, r] for r in teachers]),
        )
        for i, j in pairs
    ]
    return equations + [(R[i, r], (-kappa * s) * R[i, r] - (2 * kappa) * Y[i, r]) for i, r in R]


class SciPyNumba(Solver):
    """SciPy's LSODA on the generated Numba right-hand side."""

    name, share, method = "scipy LSODA + numba", 0.02, "LSODA"

    def prepare(self) -> None:
        system = load(self.task)
        parameters, rhs = system.parameters(self.task.eta), system.compiled_rhs

        def f(_t, y):
            dy = np.empty(y.size)
            rhs(np.ascontiguousarray(y), parameters, dy)
            return dy

        self.f = f

    def _run(self, initial: np.ndarray, times: np.ndarray) -> np.ndarray:
        from scipy.integrate import solve_ivp

        return np.array(
            [
                solve_ivp(
                    self.f,
                    (0.0, self.task.end),
                    y,
                    method=self.method,
                    rtol=self.tolerance,
                    atol=self.tolerance / 100,
                    t_eval=times,
                ).y.T
                for y in initial
            ]
        )

    def final(self, initial: np.ndarray) -> np.ndarray:
        return self._run(initial, self.task.times[-1:])

    def grid(self, initial: np.ndarray) -> np.ndarray:
        return self._run(initial, self.task.times)


class SciPyNumPy(SciPyNumba):
    """SciPy's DOP853 on a hand-written NumPy right-hand side."""

    name, share, method = "scipy DOP853 + numpy", 0.005, "DOP853"

    def prepare(self) -> None:
        self.f = numpy_rhs(self.task)


class CyRK(Solver):
    """CyRK's compiled DOP853 on a Numba right-hand side."""

    name, package, share = "CyRK DOP853", "CyRK", 0.1

    def prepare(self) -> None:
        from CyRK import nbsolve_ivp
        from numba import njit

        system = load(self.task)
        rhs, parameters = system.compiled_rhs, system.parameters(self.task.eta)

        @njit
        def f(_t, y):
            dy = np.empty(y.size)
            rhs(y, parameters, dy)
            return dy

        self.f, self.solve = f, nbsolve_ivp

    def _run(self, initial: np.ndarray, times: np.ndarray) -> np.ndarray:
        rows = []
        for y in initial:
            result = self.solve(
                self.f,
                (0.0, self.task.end),
                y,
                rk_method=2,
                t_eval=times,
                rtol=self.tolerance,
                atol=self.tolerance / 100,
                warnings=False,
            )
            rows.append(np.asarray(result.y).T)
        return np.array(rows)

    def final(self, initial: np.ndarray) -> np.ndarray:
        return self._run(initial, self.task.times[-1:])

    def grid(self, initial: np.ndarray) -> np.ndarray:
        return self._run(initial, self.task.times)


class NumbaLSODA(Solver):
    """numbalsoda's LSODA in C++ on a Numba right-hand side. The loop over trajectories is compiled too."""

    name, package, share = "numbalsoda LSODA", "numbalsoda", 0.1

    def prepare(self) -> None:
        from numba import carray, cfunc, njit
        from numbalsoda import lsoda, lsoda_sig

        system = load(self.task)
        rhs, parameters, size = system.compiled_rhs, system.parameters(self.task.eta), self.task.size

        @cfunc(lsoda_sig)
        def f(_t, y, dy, _data):
            rhs(carray(y, (size,)), parameters, carray(dy, (size,)))

        # The integrator holds only the address of f, so f must live as long as this solver.
        self.f, address = f, f.address

        @njit
        def solve(initial, times, rtol):
            states = np.empty((len(initial), len(times), size))
            for k in range(len(initial)):
                states[k], success = lsoda(
                    address, initial[k], times, rtol=rtol, atol=rtol / 100, mxstep=1_000_000
                )
                if not success:
                    raise RuntimeError("lsoda failed")
            return states

        self.solve = solve
        solve(self.task.initial[:1], self.task.times, self.tolerance)

    def final(self, initial: np.ndarray) -> np.ndarray:
        # The first time that lsoda takes is that of the start.
        return self.solve(initial, self.task.times[[0, -1]], self.tolerance)[:, 1:]

    def grid(self, initial: np.ndarray) -> np.ndarray:
        return self.solve(initial, self.task.times, self.tolerance)


class Diffrax(Solver):
    """diffrax's Tsit5 with its PID controller, vectorised over a batch by JAX's vmap, on one thread."""

    name, package, share = "diffrax Tsit5", "diffrax", 0.125
    batch = 128

    def prepare(self) -> None:
        # Both variables keep XLA to one thread: handing these small products to Eigen's pool makes them
        # slower even so. XLA reads the variables when JAX makes its first array.
        os.environ["NPROC"] = "1"
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
        import diffrax
        import jax

        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_enable_x64", True)
        term = diffrax.ODETerm(_jax_rhs(self.task))
        controller = diffrax.PIDController(rtol=self.tolerance, atol=self.tolerance / 100)

        def compiled(saved):
            def solve(y):
                return diffrax.diffeqsolve(
                    term,
                    diffrax.Tsit5(),
                    0.0,
                    self.task.end,
                    None,
                    y,
                    saveat=saved,
                    stepsize_controller=controller,
                    max_steps=1_000_000,
                ).ys

            return jax.jit(jax.vmap(solve)).lower(self.task.initial[: self.width]).compile()

        self.final_batch = compiled(diffrax.SaveAt(t1=True))
        self.grid_batch = compiled(diffrax.SaveAt(ts=self.task.times))

    @property
    def count(self) -> int:
        # A whole batch is used if there are enough trajectories; smaller ones are slower by up to a fifth.
        return max(super().count, min(self.batch, len(self.task.initial) // 8 * 8))

    @property
    def width(self) -> int:
        return math.gcd(self.batch, self.count)

    def _run(self, solve, initial: np.ndarray) -> np.ndarray:
        starts = range(0, len(initial), self.width)
        return np.concatenate([solve(initial[k : k + self.width]) for k in starts])

    def final(self, initial: np.ndarray) -> np.ndarray:
        return self._run(self.final_batch, initial)

    def grid(self, initial: np.ndarray) -> np.ndarray:
        return self._run(self.grid_batch, initial)


def _jax_rhs(task: Task):
    """`numpy_rhs` for JAX, with matrix products, which XLA runs faster here than sums written out."""
    import jax.numpy as jnp

    if not task.model.quadratic:
        return ProgramArrays(task.model, task.eta, jnp)
    p, pstar = task.p, task.pstar
    a, b, kappa = 1.0 / p, 1.0 / pstar, 2.0 * task.eta / p
    upper = np.triu_indices(p)
    head = upper[0].size
    full = np.zeros((p, p), dtype=int)
    full[upper] = full.T[upper] = np.arange(head)

    def f(_t, y, _args):
        Q, R = y[full], y[head:].reshape(p, pstar)
        s = a * jnp.trace(Q) - b * pstar
        t = a * a * jnp.sum(Q * Q) - 2 * a * b * jnp.sum(R * R) + b * b * pstar
        X, Y = a * Q @ Q - b * R @ R.T, a * Q @ R - b * R
        Z = a * Q @ X - b * R @ Y.T
        dQ = -2 * kappa * (s * Q + 2 * X) + kappa**2 * ((s * s + 2 * t) * Q + 4 * s * X + 8 * Z)
        dR = -kappa * (s * R + 2 * Y)
        return jnp.concatenate([dQ[upper], dR.ravel()])

    return f


OURS = (Tsit5, Prince8, Dop853)
PEERS = (Heyoka, Diffrax, CyRK, NumbaLSODA, SciPyNumba, SciPyNumPy)

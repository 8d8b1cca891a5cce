"""The same numbers to the last bit, whatever processor NumPy and its BLAS take this one for."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

DIGESTS = """
import hashlib, json
import numpy as np
from derive import Model
from runtime import random_overlaps, simulate
from runtime.analysis.plateau.linear_modes import teacher_directions
from runtime.analysis.escape.growth_fit import least_squares, logarithm
from runtime.ensemble.kernels import lane_operations
from runtime.start.parameter_values import RunParameters
from runtime.vector import random_numbers

found = {}
def note(name, *arrays):
    parts = [np.ascontiguousarray(array, dtype=np.float64).tobytes() for array in arrays]
    found[name] = hashlib.sha256(b"".join(parts)).hexdigest()

def correlated(pstar):
    return 0.7 * np.eye(pstar) + 0.3

TEACHERS = {
    "equal": (3, 4, correlated(4)),
    "singular": (4, 3, np.ones((3, 3))),
    "any": (2, 2, np.array([[1.0, 0.3], [0.3, 2.0]])),
}
for constraint in ("free", "sphere"):
    for p, pstar, n in ((1, 1, 3), (2, 1, 100), (4, 2, 10**6), (8, 4, 1000), (4, 2, 5), (16, 8, 10**5)):
        starts = random_overlaps(p, pstar, n, 0, 3, constraint=constraint)
        note(f"start {p} {pstar} {n} {constraint}", *starts)
    for name, (p, pstar, T) in TEACHERS.items():
        starts = random_overlaps(p, pstar, 1000, 0, 3, constraint=constraint, T=T)
        note(f"start {name} {constraint}", *starts)
        note(f"ideal {name}", *random_overlaps(p, pstar, None, 0, 3, T=T, scale=0.01))
for p, pstar, n, method, constraint, T in (
    (4, 2, 40, "chain", "free", None),
    (2, 1, 40, "chain", "sphere", None),
    (3, 4, 40, "chain", "free", TEACHERS["equal"][2]),
    (4, 2, 5, "weights", "free", None),
    (3, 5, 40, "weights", "sphere", None),
):
    model = Model(p, pstar, constraint=constraint, teacher="orthonormal" if T is None else "general")
    run = simulate(model, n=n, alpha=[0.0, 1.0], eta=0.1, method=method, trajectories=3, T=T)
    note(f"{method} {p} {pstar} {n} {constraint}", run.Q, run.R, run.loss, run.loss_error)
for name, (p, pstar, T) in TEACHERS.items():
    model = Model(p, pstar, teacher="general")
    note(f"directions {name}", *teacher_directions(RunParameters.of(model, {"eta": 0.1, "T": T})))
x = 1.0 + np.arange(300.0) / 100.0
note("logarithms", logarithm(x))
note("least squares", least_squares(np.stack([x**0, x, x**2], axis=1), np.sqrt(x)))
note("random numbers", random_numbers._SINE, random_numbers._COSINE, random_numbers._LOG)
note("step sizes", lane_operations._LOG2, lane_operations._EXP2)
print(json.dumps(found))
"""
ALL_FEATURES = " ".join(np.show_config(mode="dicts")["SIMD Extensions"].get("found", []))
MACHINES = {
    "this": {},
    "AVX2": {
        "OPENBLAS_CORETYPE": "Haswell",
        "NPY_DISABLE_CPU_FEATURES": ALL_FEATURES,
        "OVERLAP_ODE_SIMD": "avx2",
    },
    # Its BLAS has no fused multiply-adds.
    "Prescott": {"OPENBLAS_CORETYPE": "Prescott"},
}


@pytest.fixture(scope="module")
def digests():
    code = [sys.executable, "-W", "ignore", "-c", DIGESTS]
    started = {
        name: subprocess.Popen(code, env=os.environ | settings, stdout=subprocess.PIPE, text=True)
        for name, settings in MACHINES.items()
    }
    outputs = {name: process.communicate(timeout=300)[0] for name, process in started.items()}
    assert [process.returncode for process in started.values()] == [0] * len(started)
    return {name: json.loads(output) for name, output in outputs.items()}


@pytest.mark.parametrize("machine", list(MACHINES)[1:])
def test_numbers_are_the_same_on_another_machine(digests, machine):
    mine, its = digests["this"], digests[machine]
    assert len(mine) > 25
    assert [name for name in mine if mine[name] != its[name]] == []

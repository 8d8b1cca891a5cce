"""What notebooks show of values: one short line with what distinguishes them, never an address."""

from __future__ import annotations

import inspect
import re

import numpy as np
import pytest

import overlap_ode as oo
from runtime.output.value_ranges import span
from runtime.start.schedules import Schedule

MODEL = oo.Model(4, 2)
Q, R = np.eye(4), np.full((4, 2), 0.1)


def stationary():
    return oo.plateau(oo.load(MODEL), 0.4)


# A text without ">" or ")" at its end is only the beginning.
VALUES = [
    (lambda: MODEL, "Model(p=4, pstar=2)"),
    (
        lambda: oo.Model(2, 1, "sphere", activation="he3"),
        "Model(p=2, pstar=1, constraint='sphere', activation='he3')",
    ),
    (lambda: oo.SectorModel(3, flow="gradient"), "SectorModel(pstar=3, flow='gradient')"),
    (
        lambda: oo.overlap_odes(MODEL),
        "<OverlapODEs of p4_pstar2: 18 order parameters, proved in 19 entries (polynomial identity)>",
    ),
    (
        lambda: oo.overlap_odes(MODEL).proof,
        "<Proof: two derivations agree in 19 entries (polynomial identity)>",
    ),
    (
        lambda: oo.overlap_odes(oo.Model(16, 4)).proof,
        "<Proof: two derivations agree in 201 entries (2 random points, a difference is missed with a ",
    ),
    (
        lambda: oo.sector_odes(oo.SectorModel(2)),
        "<SectorODEs of sector_pstar2: 5 order parameters, proved in 44 entries (polynomial identity)>",
    ),
    (
        lambda: oo.sector_odes(oo.SectorModel(2)).proof,
        "<SectorProof: the sector agrees with the full system in 44 entries (polynomial identity), for p* ",
    ),
    (lambda: oo.load(MODEL), "<System p4_pstar2 from generated/p4_pstar2>"),
    (
        lambda: oo.load_sector(oo.SectorModel(2)),
        "<SectorSystem sector_pstar2 from generated/sector_pstar2>",
    ),
    (
        lambda: oo.OverlapSampler(4, 2, 1000, 7),
        "<OverlapSampler of p4_pstar2: N = 1000, q0 = 1, seed 7>",
    ),
    (
        lambda: oo.OverlapSampler(4, 2, None, constraint="sphere", scale=0.1),
        "<OverlapSampler of p4_pstar2_sphere: R0 of size 0.1, q0 = 1, seed 0>",
    ),
    (
        lambda: oo.SectorStart.from_singular_values(4, 2, [0.2, 0.1]),
        "<SectorStart of p = 4, p* = 2: m 0.1 to 0.2, q 1, q_perp 1>",
    ),
    (
        stationary,
        "<plateau of p4_pstar2 at eta = 0.4: q = 0.763932, loss 0.673762, rate 0.17082 (8 directions),",
    ),
    (
        lambda: stationary().parameters,
        "<RunParameters of p4_pstar2: eta = 0.4, label_noise = 0, weight_decay = 0, batch = 1>",
    ),
    (lambda: stationary().modes[-1], "<Mode alignment: rate 0.17082, multiplicity 8>"),
    (lambda: stationary().dynamics, "<LinearDynamics with the rates norm -0.41, norm differences -0.1367,"),
    (
        lambda: oo.hessian_spectrum(oo.Model(2, 1), np.eye(2) / 2, np.zeros((2, 1)), n=10),
        "<HessianSpectrum of p2_pstar1 at N = 10: saddle, 2 negative, 15 flat and 3 positive directions, ",
    ),
    (
        lambda: oo.solution_spectrum(oo.load(MODEL), Q, R, eta=0.1),
        "<StabilitySpectrum: 18 eigenvalues, real parts ",
    ),
    (
        lambda: oo.closed_form("sphere", "gradient"),
        "<ClosedForm of the plateau in p, pstar, eta, Delta: rate = 4*eta/(p*pstar)>",
    ),
    (lambda: oo.closest_solution(MODEL, Q, R), "<ClosestSolution: squared distance "),
    (lambda: oo.implicit_bias(MODEL, Q, R, Q, R), "<ImplicitBias: closest "),
    (
        lambda: oo.saad_solla(MODEL),
        "<Convention saad-solla for p4_pstar2: student 0.5, teacher 0.707107, learning_rate 0.25>",
    ),
    (
        lambda: oo.committee(oo.Model(4, 2, readout="sum")),
        "<Convention committee for p4_pstar2_sum: all factors 1>",
    ),
    (
        lambda: oo.gradient_flow(
            oo.Model(2, 1, flow="gradient"), np.eye(2), [[0.1], [0.2]], eta=0.5, alpha=[0, 5]
        ),
        "<GradientFlow of p = 2, p* = 1 at 2 times: loss ",
    ),
    (lambda: Schedule.of("inverse:50"), "Schedule.of('inverse:50')"),
    (lambda: oo.Model(2, 1, activation="he3").activations[0], "Activation.of('he3')"),
]


@pytest.mark.parametrize(("make", "text"), VALUES, ids=[text.split(":")[0] for _, text in VALUES])
def test_a_value_says_in_one_short_line_what_it_is(make, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = repr(make())
    assert shown.startswith(text)
    assert shown == text or not text.endswith((">", ")"))
    assert len(shown) < 160
    assert not re.search(r"\n| at 0x|array\(", shown)


def test_every_public_class_has_a_repr_of_its_own():
    classes = [value for value in map(oo.__getattr__, oo.__all__) if inspect.isclass(value)]
    classes = [value for value in classes if not issubclass(value, BaseException)]
    assert oo.Model in classes
    for value in classes:
        assert "__repr__" in {name for base in value.__mro__[:-1] for name in vars(base)}, value
        # One that dataclasses write shows whole arrays and every default.
        assert not hasattr(value.__repr__, "__wrapped__"), value


@pytest.mark.parametrize(
    "model",
    [
        MODEL,
        oo.Model(3, 2, "sphere", "gradient", "general", "sqrt", "trained", "1/3,-1,0,1", "he2"),
        oo.SectorModel(3, flow="gradient", second_layer="fixed"),
    ],
)
def test_the_repr_of_a_model_makes_it_again(model):
    assert eval(repr(model), {"Model": oo.Model, "SectorModel": oo.SectorModel}) == model


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (0.4, "0.4"),
        ([3.0, 1.0, np.nan], "1 to 3"),
        ([1.00001, 1.0], "1"),
        ([], "none"),
        ([np.nan], "nan"),
        ([1.0, np.inf], "1 to inf"),
    ],
)
def test_the_numbers_of_an_array_in_a_few_words(values, text):
    assert span(values) == text

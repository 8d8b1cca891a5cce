"""The list of conservation laws: which there are for a model, and which of them are refuted."""

from __future__ import annotations

import pytest
from closed_form import OPTION_SETS

from derive import Model
from derive.invariants import conservation_laws, laws, singular_vector_laws

ALWAYS = {"R moves linearly", "rank of R", "no alignment", "plateau"}
TRANSPORT = {"S moves linearly", "growth of K"}
SHAPE = {"shape of K"}
DIAGONAL = {"diagonal states", "signs on the diagonal", "polar factor"}
STUDENTS, TEACHERS = {"rotations of students"}, {"rotations of teachers"}
COMMUTING = {"commuting states", "singular vectors"}
COMMUTATOR = {"sign of the commutator"}
MINORS = {"minors of R", "sign of minors"}
FREE = ALWAYS | TRANSPORT | DIAGONAL
SPHERE = FREE | SHAPE | STUDENTS | TEACHERS | {"norms", "commuting states"}
# Rescaling single students breaks the symmetry of rotations, and what follows from it.
BROKEN = {"rotations of students", "polar factor", "commuting states"}
SOLUTIONS = {"solutions"}
# Several students of one teacher, and of several teachers.
NARROW = FREE | STUDENTS | COMMUTING | SOLUTIONS | {"ratios of R"}
WIDE = FREE | SHAPE | STUDENTS | TEACHERS | COMMUTING


def gradient(*widths, **options):
    return Model(*widths, flow="gradient", **options)


@pytest.mark.parametrize(
    ("model", "claims", "refuted"),
    [
        (Model(1, 3), FREE | SHAPE | TEACHERS | MINORS, TRANSPORT),
        (Model(2, 1), NARROW | COMMUTATOR, TRANSPORT),
        (Model(3, 1), NARROW, TRANSPORT),
        (
            Model(2, 2),
            WIDE | COMMUTATOR | SOLUTIONS | {"sign of minors", "angle of the polar factor"},
            TRANSPORT | SHAPE,
        ),
        (Model(2, 3), WIDE | COMMUTATOR | MINORS, TRANSPORT | SHAPE),
        (Model(3, 2), WIDE | SOLUTIONS, TRANSPORT | SHAPE),
        (Model(4, 2), WIDE | SOLUTIONS, TRANSPORT | SHAPE),
        (Model(2, 3, "sphere"), SPHERE | MINORS, TRANSPORT | SHAPE | BROKEN),
        (Model(3, 2, "sphere"), SPHERE | SOLUTIONS, TRANSPORT | SHAPE | BROKEN),
        (Model(2, 2, "sphere", "gradient"), SPHERE | SOLUTIONS | {"sign of minors"}, BROKEN),
        (gradient(1, 3), FREE | SHAPE | TEACHERS | MINORS | {"integral of one student"}, set()),
        (gradient(2, 3), WIDE | COMMUTATOR | MINORS | {"integral of the commutator"}, set()),
        (gradient(4, 2), WIDE | SOLUTIONS, set()),
        (gradient(2, 2, teacher="general"), ALWAYS | TRANSPORT | SOLUTIONS, set()),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_laws_of_a_model(model, claims, refuted):
    found = {law.name: law.verdict.status for law in laws(model)}
    assert found == {name: "refuted" if name in refuted else "proved" for name in claims}


@pytest.mark.parametrize("options", OPTION_SETS[::2], ids="-".join)
def test_no_law_is_undecided(options):
    for widths in ((1, 1), (2, 2)):
        assert "undecided" not in {law.verdict.status for law in laws(Model(*widths, *options))}


def test_an_identity_that_only_suffices_for_a_law_does_not_refute_it(monkeypatch):
    """With other equations the drift of W has other terms, and states may stay commuting all the same."""
    monkeypatch.setattr(singular_vector_laws, "_drift_of_W", lambda matrices: matrices.W)
    conservation_laws._found.cache_clear()
    found = {law.name: law.verdict.status for law in laws(Model(2, 1))}
    conservation_laws._found.cache_clear()
    assert {found[name] for name in COMMUTING | {"ratios of R"}} == {"undecided"}

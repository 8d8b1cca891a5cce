"""Both routes to the diffusion matrix agree for all options, and wrong programs are rejected."""

import dataclasses

import pytest
from matrix import thinned
from mutations import mutations

from derive import ProofError
from derive.fluctuations import fluctuation_pipeline
from derive.fluctuations.fluctuation_model import FluctuationModel
from derive.fluctuations.fluctuation_pipeline import FluctuationPipeline
from derive.fluctuations.fluctuation_program import fluctuation_program
from derive.fluctuations.fluctuation_proof import prove_fluctuations

WIDTHS = [(1, 1), (2, 1), (1, 2), (3, 2), (4, 2)]


def test_both_routes_agree_with_every_option(options):
    model = FluctuationModel(3, 2, *options)
    proof = prove_fluctuations(model, fluctuation_program(model))
    assert proof == FluctuationPipeline.of(model).proof_record
    if model.flow == "gradient":
        assert (proof.method, proof.compared) == ("no diffusion", 0)
    else:
        size = model.state_size
        assert (proof.method, proof.compared) == ("random points", size * (size + 1) // 2)


@pytest.mark.parametrize(("p", "pstar"), WIDTHS)
def test_both_routes_agree_at_all_widths(p, pstar):
    for seed in range(2):
        for constraint in ("free", "sphere"):
            model = FluctuationModel(p, pstar, constraint, "sgd", "general", "sum", "trained")
            prove_fluctuations(model, fluctuation_program(model), seed)


def mutated(written):
    """Every change of a statement, and pairs of matrices that are not those of their moment."""
    for what, program in mutations(written.program):
        yield what, dataclasses.replace(written, program=program)
    for power, pairs in written.moments.items():
        for k in range(len(pairs)):
            less = {**written.moments, power: pairs[:k] + pairs[k + 1 :]}
            yield f"moment {power} without pair {k}", dataclasses.replace(written, moments=less)
            twice = {**written.moments, power: (*pairs, pairs[k])}
            yield f"pair {k} of moment {power} twice", dataclasses.replace(written, moments=twice)


def rejected(model, written):
    try:
        prove_fluctuations(model, written)
    except ProofError:
        return True
    return False


@pytest.mark.parametrize("constraint", thinned(["free", "sphere"], 0))
def test_every_wrong_program_is_rejected(constraint):
    model = FluctuationModel(2, 1, constraint, "sgd", "general", "sum", "trained")
    wrong = list(mutated(fluctuation_program(model)))
    assert len(wrong) > 300
    assert [what for what, written in wrong if not rejected(model, written)] == []


@pytest.mark.usefixtures("no_stages")
def test_a_wrong_diffusion_matrix_never_becomes_files(tmp_path, monkeypatch):
    model = FluctuationModel(2, 1)
    wrong = dict(mutated(fluctuation_program(model)))["moment 4 without pair 0"]
    monkeypatch.setattr(fluctuation_pipeline, "fluctuation_program", lambda _: wrong)
    with pytest.raises(ProofError, match="two derivations of the diffusion of Q_1_1, Q_1_1 differ"):
        FluctuationPipeline.of(model).write(tmp_path)
    assert list(tmp_path.iterdir()) == []

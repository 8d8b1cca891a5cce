r"""The sector's printed equations as numbers, read back and compared with the proved program."""

import re

import latex_values
import numpy as np
import pytest

from derive.expansion import evaluate
from derive.sector import SectorModel, sector_odes
from derive.sector.sector_pipeline import SectorPipeline
from derive.sector.sector_program import written_out

P, PSTAR = 5, 2
MODELS = [
    SectorModel(PSTAR, second_layer=second_layer, flow=flow)
    for second_layer in ("ones", "fixed")
    for flow in ("sgd", "gradient")
]
NAMES = {"label_noise": r"\Delta", "weight_decay": r"\gamma", "eta": r"\eta", "vstar": "v^*", "v": "v"}
DRIFT = {"dm": "m_k", "dq": "q_k", "dq_perp": r"q_\perp"}


def values_of(model, seed):
    generator = np.random.default_rng(seed)
    names = (*model.parameters[1:], *model.state)
    values = dict(zip(names, generator.uniform(0.3, 0.9, len(names)), strict=True))
    return values | {"a": 1 / P, "b": 1 / PSTAR, "rest": P - PSTAR, "inverse_batch": 1 / 3}


def expected(model, values):
    def combine(terms):
        return sum(float(coefficient) * np.prod(factors) for coefficient, factors in terms)

    return evaluate(written_out(SectorPipeline.of(model).program), values, combine, lambda x: 1 / x)


def of_direction(text, k):
    """The text for direction k, with sums over all directions written out, and u for q_⊥."""

    def summands(match):
        return " + ".join(f"({match[1].replace('_k', f'_{i}')})" for i in range(1, PSTAR + 1))

    text = re.sub(rf"\\sum_{{k=1}}\^\{{{PSTAR}\}} \((.*?)\)(?= [+-] \(p)", summands, text)
    return text.replace("_k", f"_{k}").replace(r"q_\perp", "u")


def check(model, odes, loss, seed=3):
    values = values_of(model, seed)
    known = {latex: values[name] for name, latex in NAMES.items() if name in values}
    known |= {name: values[name] for name in ("a", "b")} | {"p": P, "B": 3, "u": values["q_perp"]}
    known |= {name: values[name] for name in model.state if name != "q_perp"}
    wanted = expected(model, values)
    for k in range(1, PSTAR + 1):
        found = dict(known)
        for left, right in latex_values.equations(odes + loss):
            # The traces have a name and a value.
            value = of_direction(right.rpartition(" = ")[2], k)
            found[of_direction(left, k)] = latex_values.evaluate(value, found)
        for name, symbol in DRIFT.items():
            left = of_direction(rf"\frac{{\mathrm{{d}}{symbol}}}{{\mathrm{{d}}\alpha}}", k)
            entry = name if name.endswith("perp") else f"{name}_{k}"
            assert found[left] == pytest.approx(wanted[entry], rel=1e-12), name
        assert found[r"\varepsilon"] == pytest.approx(wanted["loss"], rel=1e-12)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_the_printed_equations_have_the_numbers_of_the_program(model):
    odes, loss = (sector_odes(model).latex(what, definitions=False) for what in ("odes", "loss"))
    assert loss.count(r"\varepsilon") == 1
    check(model, odes, loss)
    # The loss stands alone, with the same traces.
    assert odes.split("s &= ")[1].split("  x_k")[0] == loss.split("s &= ")[1].split(r"  \varepsilon")[0]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_every_sign_matters(model):
    odes, loss = (sector_odes(model).latex(what, definitions=False) for what in ("odes", "loss"))
    lines = loss[loss.index(r"  \varepsilon") :]
    body = odes.removesuffix("\n\\end{align*}\n") + " \\\\\n" + lines
    check(model, body, "")
    for sign in re.finditer(r"(?<= )[+-](?= )|(?<=&= )-", body):
        leading = body[: sign.start()].endswith("&= ")
        turned = "" if leading else {"+": "-", "-": "+"}[sign[0]]
        with pytest.raises(AssertionError):
            check(model, body[: sign.start()] + turned + body[sign.end() :], "")

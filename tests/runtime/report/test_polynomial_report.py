"""Reports of other activations than λ²: their equations, and nothing that is known for λ² only."""

import re
import shlex

import pytest
from matrix import thinned

from runtime.report.findings import NOT_QUADRATIC

TRAINED = (
    "--p 2 --pstar 2 --activation he2+he3 --teacher-activation he3 --second-layer trained"
    " --eta 0.002 --eta-second 0.01 --alpha 20 --constraint sphere"
)
LEFT_OUT = ("plateau", "hessian", "laws")


@pytest.mark.parametrize(
    "options",
    thinned(
        [
            "--p 2 --pstar 1 --activation he3 --eta 0.01 --alpha 40 --ideal 0.2",
            TRAINED,
            "--p 1 --pstar 1 --activation 0,1/2,0,1/6 --flow gradient --alpha 5",
        ],
        1,
    ),
)
def test_report_says_what_holds_for_any_activation(report_of, options):
    made = report_of(options)
    assert made.code == 0
    text = made.text
    for name in LEFT_OUT:
        assert f'id="{name}"' not in text
        assert f'href="#{name}"' not in text
    assert NOT_QUADRATIC in text
    assert "Overlap ODEs of a polynomial teacher–student network" in text
    assert "multigraphs" in text
    assert "Wick" not in text
    # Everything that is shown was converted.
    (page,) = (element for element in made.elements if element.tag == "main")
    assert not re.search(r"\\|\$|\b(nan|None|frac|operatorname)\b", page.text)
    words = shlex.split(options)
    for option in ("--activation", "--teacher-activation"):
        if option in words:
            # The command that makes the report again names it.
            assert f"{option} {words[words.index(option) + 1]}" in text


def test_report_of_a_run_that_diverges(report_of):
    made = report_of("--p 2 --pstar 1 --activation he3 --eta 1 --alpha 5")
    assert "it diverged" in made.text
    assert ">nan<" not in made.text.lower()


def test_report_of_lambda_squared_is_that_of_quadratic(report_of):
    made = report_of("--p 1 --pstar 1 --activation 0,0,1 --alpha 20")
    assert all(f'id="{name}"' in made.text for name in LEFT_OUT)
    assert "a quadratic teacher–student network" in made.text
    assert "--activation" not in made.text

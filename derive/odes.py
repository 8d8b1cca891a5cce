"""Derives the ODEs of one model: SymPy expressions, LaTeX, and the files that `runtime.load` loads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any

from derive.arguments import one_of
from derive.emit.latex_components import component_form
from derive.emit.latex_definitions import covariance
from derive.emit.latex_definitions import definitions as definitions_of
from derive.emit.latex_expanded import expanded_form
from derive.emit.latex_graph_components import graph_component_form
from derive.emit.latex_graphs import graph_form
from derive.emit.latex_lines import single_display
from derive.emit.latex_matrix import matrix_form
from derive.errors import InputError
from derive.expansion import evaluate
from derive.fluctuations.fluctuation_latex import diffusion_form
from derive.generated_files import DerivedODEs
from derive.model import Model, require_quadratic
from derive.overlap_program import DQ, DR, DV, LOSS
from derive.parameters import NUMBERS
from derive.pipeline import Pipeline
from derive.proof import Proof
from derive.readout import READOUTS

if TYPE_CHECKING:
    import sympy

FORMS = ("matrix", "expanded", "components")
SUBJECTS = ("odes", "loss", "jacobian", "diffusion")


class OverlapODEs(DerivedODEs[Model]):
    """The closed ODEs dQ/dα and dR/dα, dv/dα if v is trained, and the generalisation error of one model.

    Both derivations are compared when this object is made; `proof` says how.

    Raises
    ------
    derive.ProofError
        The derivations disagree, which is a defect of this software.
    """

    def __init__(self, model: Model) -> None:
        pipeline = Pipeline.of(model)
        super().__init__(pipeline)
        self._program = pipeline.program
        self.proof: Proof = pipeline.proof

    @cached_property
    def symbols(self) -> dict[str, sympy.Symbol]:
        """The SymPy symbols by name: those of the run-time parameters, then those of the state.

        Numbers have the letters of the conventions, as Delta for label_noise. The batch size is ``batch``,
        the symbol B, while generated functions take its inverse.
        """
        import sympy

        numbers = {parameter.code: parameter for parameter in NUMBERS}
        found = {}
        for name in (*self.model.parameters, *self.state):
            number = numbers.get(name)
            found[number.name if number else name] = sympy.Symbol(number.printed if number else name)
        return found

    @cached_property
    def _expressions(self) -> dict[str, Any]:
        import sympy

        readout = READOUTS[self.model.readout]
        a, b = (readout.expression(width) for width in (self.model.p, self.model.pstar))

        def combine(terms: Iterable[tuple[Fraction, Sequence[Any]]]) -> Any:
            return sympy.Add(
                *(sympy.Mul(sympy.Rational(c.numerator, c.denominator), *factors) for c, factors in terms)
            )

        values = {**self.symbols, "a": a, "b": b}
        values |= {
            number.code: 1 / self.symbols[number.name]
            for number in NUMBERS
            if number.reciprocal and number.name in self.symbols
        }
        return evaluate(self._program, values, combine, lambda value: 1 / value)

    def _matrix(self, name: str, columns: int, symmetric: bool) -> sympy.ImmutableDenseMatrix:
        import sympy

        def component(i: int, j: int) -> Any:
            if symmetric and j < i:
                i, j = j, i
            return self._expressions[f"{name}_{i + 1}_{j + 1}"]

        return sympy.ImmutableDenseMatrix(self.model.p, columns, component)

    @cached_property
    def dQ(self) -> sympy.ImmutableDenseMatrix:
        """dQ/dα, a (p, p) SymPy matrix in `symbols`, not expanded."""
        return self._matrix(DQ.name, self.model.p, symmetric=True)

    @cached_property
    def dR(self) -> sympy.ImmutableDenseMatrix:
        """dR/dα, a (p, p*) SymPy matrix in `symbols`, not expanded."""
        return self._matrix(DR.name, self.model.pstar, symmetric=False)

    @cached_property
    def dv(self) -> sympy.ImmutableDenseMatrix | None:
        """dv/dα of a trained second layer, a (p, 1) SymPy matrix in `symbols`; None if v is not trained."""
        if not self.model.trained:
            return None
        import sympy

        return sympy.ImmutableDenseMatrix(
            [self._expressions[f"{DV.name}_{i}"] for i in range(1, self.model.p + 1)]
        )

    @property
    def loss(self) -> sympy.Expr:
        """The generalisation error ε = ½ E[(f − y)²] without label noise, in `symbols`."""
        return self._expressions[LOSS]

    def latex(self, form: str = "matrix", what: str = "odes", *, definitions: bool = True) -> str:
        """LaTeX (amsmath) of the equations, in lines that fit a column of 246 pt.

        Parameters
        ----------
        form
            ``"matrix"`` with letters for loops and chains, ``"expanded"`` in Q, R and T alone, or
            ``"components"``.
        what
            ``"odes"``, ``"loss"``, ``"jacobian"``, or ``"diffusion"``: the diffusion matrix of the
            fluctuations at order 1/N.
        definitions
            Whether sentences come first that define all symbols.

        Raises
        ------
        InputError
            The form or the subject is another one, the form is not that of the activation, or the equations
            are too long to be written out: the components of wide models, and the Jacobian and the
            diffusion matrix of activations that are not quadratic.
        """
        return latex(self.model, form, what, definitions=definitions)

    def _repr_latex_(self) -> str:
        """The equations in matrices, for notebooks."""
        symbols = f"\\[\n  {covariance(self.model)}\n\\]\n"
        return single_display(symbols + self.latex(definitions=False))


def latex(model: Model, form: str = "matrix", what: str = "odes", *, definitions: bool = True) -> str:
    """LaTeX of the equations of `model` (see `OverlapODEs.latex`), without the proof."""
    check_latex_options(form, what)
    return _printed(model, form, what, definitions, any_widths=False)


def latex_for_any_widths(
    what: str = "odes", *, form: str = "matrix", definitions: bool = True, **options: Any
) -> str:
    """A form without components with symbolic p and p*; `options` are those of Model without the widths.

    The other arguments are those of `OverlapODEs.latex`.
    """
    # The widths do not matter; this validates the options.
    model = Model(1, 1, **options)
    check_latex_options(form, what)
    if form == "components":
        raise InputError("form", "'components' needs widths; without them it is 'matrix' or 'expanded'")
    return _printed(model, form, what, definitions, any_widths=True)


def _printed(model: Model, form: str, what: str, words: bool, any_widths: bool) -> str:
    """The equations, after their definitions for `words`."""
    if what == "diffusion":
        require_quadratic(model, "the diffusion matrix is printed")
        sentences = definitions_of(model, form, what, any_widths) if words else ""
        return sentences + diffusion_form(model, any_widths)
    pipeline = Pipeline.of(model)
    if not model.quadratic:
        text = _graphs(model, form, what, any_widths)
    elif form == "components":
        text = component_form(model, pipeline.equations, what)
    else:
        printer = expanded_form if form == "expanded" else matrix_form
        text = printer(model, pipeline.equations, what, any_widths)
    return (definitions_of(model, form, what, any_widths) if words else "") + text


def _graphs(model: Model, form: str, what: str, any_widths: bool) -> str:
    """The equations of other activations than λ², which have no expanded form."""
    if form == "expanded":
        raise InputError(
            "form",
            f"'expanded' is the form of the activation λ² alone; for {model.activation} use 'matrix', which"
            " prints sums over units, or 'components'",
        )
    if form == "components":
        return graph_component_form(model, what)
    return graph_form(model, what, any_widths)


def check_latex_options(form: str, what: str) -> None:
    """Raise InputError unless `form` and `what` are known, and go together."""
    one_of("form", form, FORMS)
    one_of("what", what, SUBJECTS)
    if form != "matrix" and what == "diffusion":
        raise InputError("form", f"{form!r}: the diffusion matrix has the form 'matrix' only")


def overlap_odes(model: Model) -> OverlapODEs:
    """Derive the ODEs of `model` by both routes, and prove them equal."""
    return OverlapODEs(model)

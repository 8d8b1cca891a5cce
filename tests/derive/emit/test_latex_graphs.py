r"""The LaTeX of polynomial activations as numbers: sums over units and components, against the program."""

import itertools
import re
from collections import UserDict

import latex_values
import pytest
from closed_form import named, random_point
from pdflatex import needs_pdflatex, overfull_points
from polynomial.brute_force import drift_and_loss

from derive import InputError, Model, latex, latex_for_any_widths, overlap_odes
from derive.emit import latex_graph_components
from derive.overlap_program import FREE_DQ, FREE_DR
from derive.parameters import NUMBERS
from derive.pipeline import Pipeline
from derive.proof import evaluate_exactly

MODELS = [
    Model(2, 1, activation="he3"),
    Model(2, 2, activation="he2", teacher="general", second_layer="trained"),
    Model(2, 2, "sphere", "sgd", "general", "sqrt", "trained", "1/3,-1,0,1", "he2"),
    Model(2, 1, "free", "gradient", "orthonormal", "sum", "fixed", "he4"),
    Model(1, 2, "sphere", activation="quadratic", teacher_activation="he3"),
]


def by_name(model):
    return model.name


def subscripted(name):
    letter, *indices = name.split("_")
    letter, star = ("v", "^*") if letter == "vstar" else (letter, "")
    return f"{letter}_{{{''.join(indices)}}}{star}"


def printed_values(model, values):
    numbers = {number.code: number for number in NUMBERS}
    found = {}
    for name in (*model.parameters, *model.state):
        number = numbers.get(name)
        left = number.latex if number else subscripted(name)
        found[left] = 1 / values[name] if number and number.reciprocal else values[name]
    return found


def check(found, model, values):
    """The drift, that before the sphere's projection, and no other lines of derivatives."""
    exact = {name: float(x) for name, x in drift_and_loss(model, values).items()}
    exact.pop("loss")
    expected = {
        rf"\frac{{\mathrm{{d}}{subscripted(n[1:])}}}{{\mathrm{{d}}\alpha}}": x for n, x in exact.items()
    }
    derivatives = {name: x for name, x in found.items() if name.startswith(r"\frac")}
    assert derivatives == pytest.approx(expected, rel=1e-10, abs=1e-11 * max(map(abs, expected.values())))
    if model.constraint == "sphere":
        program = Pipeline.of(model).program.restricted_to((FREE_DQ, FREE_DR))
        for name, x in evaluate_exactly(program, values).items():
            letter = name.replace("fQ", "F").replace("fR", "G")
            assert found[subscripted(letter)] == pytest.approx(float(x), rel=1e-10, abs=1e-10)


def point_of(model):
    return named(model, random_point(model, seed=3))


@pytest.mark.parametrize("model", MODELS, ids=by_name)
def test_components(model):
    values = point_of(model)
    known = printed_values(model, {name: float(x) for name, x in values.items()})
    found = {}
    for left, right in latex_values.equations(latex(model, "components")):
        assert left not in found
        found[left] = latex_values.evaluate(right, known | found)
    check(found, model, values)
    loss = {}
    for left, right in latex_values.equations(latex(model, "components", "loss")):
        loss[left] = latex_values.evaluate(right, known | loss)
    assert loss[r"\varepsilon"] == pytest.approx(float(drift_and_loss(model, values)["loss"]), rel=1e-10)


def test_a_number_after_a_sign_has_brackets_where_they_are_needed():
    for pstar, activation, expected in (
        (1, "he3", "-6"),
        (1, "0,0,0,-1", "-(-6)"),
        (2, "he3", r"-\frac{1}{2}(6)"),
    ):
        lines = latex_values.equations(latex(Model(1, pstar, activation=activation), "components"))
        assert dict(lines)["c_{3,1}^*"] == expected


class Units(UserDict):
    """The letters of sums for units that are numbers: students first, then teachers."""

    def __init__(self, model, values):
        # In sums the second index of R is that of a unit, which follows the students.
        known = printed_values(model, values).items()
        super().__init__((name, x) for name, x in known if not name.startswith("R"))
        self.model, self.values = model, values
        readout = model.readout
        power = {"mean": -1, "sum": 0, "sqrt": -0.5}[readout]
        self["a"], self["b"] = float(model.p) ** power, float(model.pstar) ** power

    def __missing__(self, name):
        letter, indices = re.fullmatch(r"([hcCQRT]|v|\\kappa)_\{([\d,]+)\}", name).groups()
        numbers = list(map(int, indices.split(","))) if "," in indices else list(map(int, indices))
        p = self.model.p
        match letter:
            case "h":
                order, i = numbers
                return self.moment("h", order, self.overlap(i, i))
            case "c":
                order, m = numbers
                weighted = self.model.weighted
                if m <= p:
                    v = self[f"v_{{{m}}}"] if weighted else 1
                    return self["a"] * v * self.moment("h", order, self.overlap(m, m))
                v = self[f"v_{{{m - p}}}^*"] if weighted else 1
                star = "^*" if self.model.teacher_activation else ""
                return -self["b"] * v * self.moment("h", order, self.overlap(m, m), star)
            case "C" | "Q" | "R":
                return self.overlap(*numbers)
        raise KeyError(name)

    def moment(self, letter, order, q, star=""):
        text = self.data.get(f"{letter}_{order}{star}(q)", "0")
        return latex_values.evaluate(text, {"q": q})

    def overlap(self, u, v):
        u, v = sorted((u, v))
        p = self.model.p
        if v <= p:
            return self.values[f"Q_{u}_{v}"]
        if u <= p:
            return self.values[f"R_{u}_{v - p}"]
        return self.values[f"T_{u - p}_{v - p}"] if self.model.teacher == "general" else float(u == v)


def at(text, letters):
    """The text with numbers in place of the letters of indices."""

    def replaced(match):
        inside = match[1]
        return "_{" + "".join(str(letters.get(x, x)) for x in inside) + "}"

    text = re.sub(r"_([a-z])(?![a-z])", r"_{\1}", text)
    return re.sub(r"(?<!sum)_\{([a-z0-9,]+)\}", replaced, text)


def value_of(text, letters, units):
    """A sum of terms, each with a sum over units that reaches to its end."""
    bracket = re.fullmatch(r"(.*)\\bigl\[(.*)\\bigr\]", text)
    if bracket:
        sign = -1 if bracket[1].startswith("-") else 1
        inside = value_of(bracket[2], letters, units)
        return sign * latex_values.evaluate(bracket[1].removeprefix("-"), units) * inside
    if r"\sum" not in text:
        return latex_values.evaluate(at(text, letters), units)
    total = 0.0
    for piece in re.split(r" (?=[+-] )", text):
        sign = -1 if piece.startswith("-") else 1
        before, _, after = piece.lstrip("+- ").partition(r"\sum_")
        value = latex_values.evaluate(at(before, letters), units) if before else 1.0
        if after:
            summed, inside = re.fullmatch(r"(?:\{([mn,]+)\}|[mn]) ?(.*)", after).groups()
            names = (summed or after[0]).split(",")
            value *= sum(
                latex_values.evaluate(at(inside, letters | dict(zip(names, chosen, strict=True))), units)
                for chosen in itertools.product(
                    range(1, units.model.p + units.model.pstar + 1), repeat=len(names)
                )
            )
        total += sign * value
    return total


def lines_of_units(model):
    """What is said about the moments of each unit, for every k."""
    v, vstar = ("v_i", "v_r^*") if model.weighted else ("", "")
    star = "^*" if model.teacher_activation else ""
    norm = "T_{rr}" if model.teacher == "general" else "1"
    return {
        "h_{k,i}": "h_k(Q_{ii})",
        "c_{k,i}": rf"a{v}\,h_{{k,i}}",
        "c_{k,r}": rf"-b{vstar}\,h_k{star}({norm})",
    }


def read_sums(text, units):
    """Evaluate the lines for all values of their free indices."""
    p, pstar = units.model.p, units.model.pstar
    ranges = {"i": range(1, p + 1), "j": range(1, p + 1), "r": range(p + 1, p + pstar + 1)}
    ranges |= {"m": range(1, p + pstar + 1), "n": range(1, p + pstar + 1)}
    found = {}
    for left, right in latex_values.equations(text):
        if left.endswith("(q)"):
            units[left] = right
            continue
        if "{k," in left:
            # Units has these for each k, as they are printed for all.
            assert right == lines_of_units(units.model)[left]
            continue
        free = (
            sorted(set("".join(re.findall(r"_(?:\{([a-z]+)\}|([a-z]))", left)[0]))) if "_" in left else []
        )
        for chosen in itertools.product(*(ranges[letter] for letter in free)):
            letters = dict(zip(free, chosen, strict=True))
            name = at(left, letters)
            found[name] = units[name] = value_of(right.rpartition(" = ")[2], letters, units)
    return found


@pytest.mark.parametrize("any_widths", [False, True])
@pytest.mark.parametrize("model", MODELS, ids=by_name)
def test_sums_over_units(model, any_widths):
    values = point_of(model)
    units = Units(model, {name: float(x) for name, x in values.items()})
    options = {name: x for name, x in model.to_dict().items() if name not in ("p", "pstar")}
    text = latex_for_any_widths("odes", **options) if any_widths else latex(model)
    found = read_sums(text, units)
    p = model.p
    entries = {}
    for name, x in found.items():
        match = re.fullmatch(r"(.*[A-Z]_)\{(\d)(\d)\}(.*)", name)
        # Teachers are units after the students in sums, and have numbers of their own in R.
        teacher = match and re.search(r"R_$|G_$", match[1])
        entries[f"{match[1]}{{{match[2]}{int(match[3]) - p}}}{match[4]}" if teacher else name] = x
    entries = {name: x for name, x in entries.items() if not re.search(r"Q_\{21\}", name)}
    check(entries, model, values)
    loss = latex_for_any_widths("loss", **options) if any_widths else latex(model, "matrix", "loss")
    expected = float(drift_and_loss(model, values)["loss"])
    assert read_sums(loss, units)[r"\varepsilon"] == pytest.approx(expected, rel=1e-10)


def test_widths_are_symbols_where_none_are_given():
    text = latex_for_any_widths(activation="he3")
    assert r"a = \frac{1}{p},\qquad b = \frac{1}{p^*}" in text
    assert r"h_1(q) &= 3q - 3" in text


def test_what_is_too_long_is_refused_in_one_line():
    model = Model(4, 2, activation="he4")
    for form in ("matrix", "components"):
        with pytest.raises(InputError, match="'jacobian' is not printed for the activation he4") as refused:
            latex(model, form, "jacobian")
        assert "\n" not in str(refused.value)
    wide = Model(8, 4, activation="he4")
    with pytest.raises(InputError, match="components of p8_pstar4_he4 have about 238464 terms") as refused:
        latex(wide, "components")
    assert refused.value.option == "form"
    assert "prints them" in Pipeline.of(wide).latex
    assert latex_graph_components.term_count(Model(2, 1, activation="he3")) < 1000


def test_expressions_of_sympy():
    model = Model(2, 1, activation="he3", second_layer="trained")
    odes = overlap_odes(model)
    values = point_of(model)
    given = values | {"batch": 1 / values["inverse_batch"]}
    at_point = {symbol: given[name] for name, symbol in odes.symbols.items()}
    expected = {name: float(x) for name, x in drift_and_loss(model, values).items()}

    def value(expression):
        return float(expression.subs(at_point))

    for i, j in itertools.product(range(2), repeat=2):
        entry = f"dQ_{min(i, j) + 1}_{max(i, j) + 1}"
        assert value(odes.dQ[i, j]) == pytest.approx(expected[entry], rel=1e-12)
    for i in range(2):
        assert value(odes.dR[i, 0]) == pytest.approx(expected[f"dR_{i + 1}_1"], rel=1e-12)
        assert value(odes.dv[i]) == pytest.approx(expected[f"dv_{i + 1}"], rel=1e-12)
    assert value(odes.loss) == pytest.approx(expected["loss"], rel=1e-12)


@needs_pdflatex
@pytest.mark.parametrize(
    "model",
    [
        Model(2, 1, activation="he3"),
        Model(
            4,
            2,
            "sphere",
            teacher="general",
            second_layer="trained",
            activation="he4",
            teacher_activation="he2",
        ),
    ],
    ids=by_name,
)
def test_document_compiles_and_fits_the_page(tmp_path, model):
    assert overfull_points(Pipeline.of(model).latex, tmp_path) <= 5.0

"""Which models there are, and how they are named and written down."""

import dataclasses
import itertools

import numpy as np
import pytest
from closed_form import OPTION_SETS
from hypothesis import given, settings
from hypothesis import strategies as st

from derive import InputError, Model, SectorModel
from derive.model import OPTIONS
from runtime.run_options import ACTIVATIONS

WIDTHS = {Model: {"p": 4, "pstar": 2}, SectorModel: {"pstar": 2}}


@pytest.mark.parametrize(("kind", "width"), [(Model, "p"), (Model, "pstar"), (SectorModel, "pstar")])
@pytest.mark.parametrize("value", [0, -1, 1.5, 4.0, 10**6, True, False, "4", None, float("nan")])
def test_width_out_of_range_or_of_another_type_is_rejected(kind, width, value):
    with pytest.raises(InputError, match=rf"{width}: .* is not an integer from 1 to \d+$") as error:
        kind(**{**WIDTHS[kind], width: value})
    assert error.value.option == width
    assert isinstance(error.value, ValueError)


@pytest.mark.parametrize(
    ("kind", "width", "most"), [(Model, "p", 256), (Model, "pstar", 256), (SectorModel, "pstar", 4096)]
)
def test_largest_width(kind, width, most):
    assert getattr(kind(**{**WIDTHS[kind], width: most}), width) == most
    with pytest.raises(InputError, match=f"from 1 to {most}"):
        kind(**{**WIDTHS[kind], width: most + 1})


def test_integers_of_other_types_become_int():
    model = Model(np.int64(4), np.uint8(2))
    assert (type(model.p), type(model.pstar)) == (int, int)
    assert model == Model(4, 2)


@pytest.mark.parametrize("kind", [Model, SectorModel])
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("value", ["Free", "", "unknown", None, 1, ["free"]])
def test_unknown_option_value_is_rejected_and_the_allowed_ones_named(kind, option, value):
    with pytest.raises(InputError, match=f"{option}: .* is not one of .*, .*") as error:
        kind(**WIDTHS[kind], **{option: value})
    assert error.value.option == option


@pytest.mark.parametrize("kind", [Model, SectorModel])
def test_options_are_declared_in_the_order_of_the_fields_with_their_defaults(kind):
    options = kind(**WIDTHS[kind]).to_dict()
    declared = [(o.name, o.default) for o in (*OPTIONS.values(), *ACTIVATIONS.values())]
    # Sectors are those of quadratic networks.
    declared = declared if kind is Model else declared[: len(OPTIONS)]
    assert list(options.items())[len(WIDTHS[kind]) :] == declared
    assert [*OPTIONS["flow"].values] == ["sgd", "gradient"]
    assert OPTIONS["readout"].values["mean"] == "mean: a = 1/p, b = 1/p*"
    assert OPTIONS["readout"].help.startswith("Readout weights (a, b) = (1/p, 1/p*), (1, 1)")


def test_model_is_frozen_and_hashable():
    model = Model(4, 2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.p = 5
    assert {model: 1}[Model(4, 2, "free", "sgd", "orthonormal", "mean")] == 1
    assert len({Model(4, 2), Model(4, 3), Model(4, 2, readout="sum")}) == 3


def test_name_lists_the_options_that_are_not_default():
    assert Model(4, 2).name == "p4_pstar2"
    assert Model(4, 2, readout="sum").name == "p4_pstar2_sum"
    full = Model(12, 5, "sphere", "gradient", "general", "sqrt")
    assert full.name == "p12_pstar5_sphere_gradient_general_sqrt"


def test_names_are_unique():
    models = {Model(p, q, *options) for p, q, options in itertools.product((1, 11), (1, 11), OPTION_SETS)}
    assert len({model.name for model in models}) == len(models) == 4 * len(OPTION_SETS)


def test_state_and_parameters_in_order():
    model = Model(2, 3, teacher="general")
    assert model.state == (
        *("Q_1_1", "Q_1_2", "Q_2_2"),
        *("R_1_1", "R_1_2", "R_1_3", "R_2_1", "R_2_2", "R_2_3"),
    )
    teacher = ("T_1_1", "T_1_2", "T_1_3", "T_2_2", "T_2_3", "T_3_3")
    protocol = ("weight_decay", "inverse_batch")
    assert model.parameters == ("eta", "label_noise", *teacher, *protocol)
    assert Model(2, 3).parameters == ("eta", "label_noise", *protocol)
    assert Model(2, 3, flow="gradient").parameters == ("eta", "label_noise", *protocol)


def test_second_layers_are_parameters_or_the_end_of_the_state():
    fixed, trained = (Model(2, 1, second_layer=layer) for layer in ("fixed", "trained"))
    assert fixed.parameters[4:] == ("v_1", "v_2", "vstar_1")
    assert fixed.state == Model(2, 1).state
    assert trained.parameters[4:] == ("vstar_1", "eta_second")
    assert trained.state == (*fixed.state, "v_1", "v_2")
    assert [model.weighted for model in (Model(2, 1), fixed, trained)] == [False, True, True]
    assert [model.trained for model in (Model(2, 1), fixed, trained)] == [False, False, True]
    assert trained.name == "p2_pstar1_trained"


@settings(max_examples=30)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from(OPTION_SETS))
def test_dictionary_round_trip(p, pstar, options):
    model = Model(p, pstar, *options)
    assert Model.from_dict(model.to_dict()) == model
    assert list(model.to_dict()) == ["p", "pstar", *OPTIONS, *ACTIVATIONS]
    assert model.state_size == len(model.state) == len(set(model.state))


@pytest.mark.parametrize(
    ("kind", "options", "problem"),
    [
        (Model, {"p": 4}, "pstar: is missing"),
        (Model, {"pstar": 4}, "p: is missing"),
        (Model, {"p": 4, "pstar": 2, "sigma": "quadratic"}, "sigma: is not an option"),
        (SectorModel, {"pstar": 2, "activation": "quadratic"}, "activation: is not an option"),
        (SectorModel, {"flow": "sgd"}, "pstar: is missing"),
        (SectorModel, {"pstar": 2, "p": 4}, "p: is not an option"),
    ],
)
def test_dictionaries_may_leave_out_options_but_not_widths(kind, options, problem):
    assert kind.from_dict(WIDTHS[kind]) == kind(**WIDTHS[kind])
    with pytest.raises(InputError, match=problem) as error:
        kind.from_dict(options)
    assert problem.startswith(f"{error.value.option}: ")

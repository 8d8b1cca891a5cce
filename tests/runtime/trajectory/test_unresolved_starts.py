"""A warning says where R0 is not zero but too small for atol, so that escape times are wrong."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import runtime
from derive.sector import SectorModel
from runtime.sector import SectorStart, integrate_sector, load_sector
from runtime.start.checked_arrays import RESOLVED

ATOL = 1e-10
DIRECTION = np.array([[1.0], [-0.4]])
SHORT = {"eta": 0.3, "alpha": [0.0, 1.0], "atol": ATOL}


def single(system, size, **settings):
    runtime.integrate(system, np.eye(2), size * DIRECTION, **SHORT | settings)


def last_of_three(system, size, **settings):
    R = np.array([0.0, 0.1, size])[:, None, None] * DIRECTION
    runtime.integrate_ensemble(system, np.array([np.eye(2)] * 3), R, **SHORT | settings)


def drawn(system, size, **settings):
    # The largest of two Gaussian numbers of this start is 1.44.
    sampler = runtime.OverlapSampler(2, 1, None, seed=0, scale=size / 1.44)
    runtime.ensemble_statistics(system, sampler, 1, **SHORT | settings)


def in_the_sector(system, size, **settings):
    sector = load_sector(SectorModel(1), system.folder.parent)
    integrate_sector(sector, SectorStart.from_singular_values(2, 1, size), **SHORT | settings)


CALLS = [single, last_of_three, drawn, in_the_sector]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("size", [1e-20, 0.9 * RESOLVED * ATOL])
def test_a_small_start_warns_once_and_where_it_was_called(system_of, call, size):
    with pytest.warns(
        UserWarning, match="R0 is not zero, but smaller than 100 atol = 1e-08: the time"
    ) as found:
        call(system_of(2, 1), size)
    assert [warning.filename for warning in found] == [__file__]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("size", "settings"),
    [(0.0, {}), (1.1 * RESOLVED * ATOL, {}), (1e-20, {"atol": 1e-23})],
    ids=["zero", "resolved", "small atol"],
)
def test_other_starts_do_not_warn(system_of, call, size, settings):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        call(system_of(2, 1), size, **settings)


def test_the_bound_is_where_escape_times_begin_to_be_wrong(system_of):
    """On the sphere, where Q keeps still and steps are as long as R allows: of R0 / atol."""
    system = system_of(2, 1, constraint="sphere")

    def escape(size, atol):
        runs = runtime.integrate_ensemble(
            system,
            np.eye(2)[None],
            size * ATOL * DIRECTION[None],
            eta=0.3,
            alpha=1000.0,
            atol=atol,
            output="final",
            stop_loss=0.3,
        )
        return runs["escape_alpha"].item()

    shifts = {}
    for size in (RESOLVED, 1.0, 1e-4):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shifts[size] = abs(escape(size, ATOL) / escape(size, 1e-24) - 1.0)
    assert shifts[RESOLVED] < 2e-6
    assert shifts[1.0] > 1e-5
    assert shifts[1e-4] > 1e-3


@pytest.mark.parametrize("command", ["integrate", "ensemble", "ensemble --output final"])
def test_the_command_line_says_it_in_a_line(call, generated, command):
    with pytest.warns(UserWarning, match="smaller than 100 atol") as found:
        code, _, err = call(
            f"{command} --p 2 --pstar 1 --generated {generated} --ideal 1e-20 --alpha 1 --quiet"
        )
    assert (code, err, len(found)) == (0, "", 1)

"""The search for the first crossing in a step, with heights that are functions of the place."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from runtime.trajectory import event_search
from runtime.trajectory.event_search import LOOKS, MOST_TURNS, RESOLUTION


def found(height):
    """The place of the first crossing, or None; and the number of turns in its bracket."""
    begin, look, searching, probe, narrow = (
        getattr(event_search, name).py_func for name in ("begin", "look", "searching", "probe", "narrow")
    )
    search, turns = SimpleNamespace(), 0
    begin(search, height(0.0))
    for place in LOOKS:
        look(search, place, height(place))
        if search.found:
            break
    while searching(search):
        place = probe(search, turns)
        assert search.low < place < search.high
        narrow(search, place, height(place))
        turns += 1
    return (search.high if search.found else None), turns


@pytest.mark.parametrize("where", [1e-12, 0.01, 0.3, 0.5, 0.999, 1.0])
@pytest.mark.parametrize(
    ("shape", "most"),
    [
        (lambda x: -x, 3),
        (lambda x: np.exp(-5.0 * x) - 1.0, 20),
        (lambda x: -np.cbrt(x), 50),
        (lambda x: -(x**9), MOST_TURNS),
        # A jump, and a loss that is not finite behind the crossing.
        (lambda x: -1.0 if x >= 0.0 else 1.0, MOST_TURNS),
        (lambda x: -np.inf if x > 0.0 else -x, MOST_TURNS),
    ],
)
def test_one_crossing_is_located_to_rounding(where, shape, most):
    with np.errstate(invalid="ignore"):
        place, turns = found(lambda x: shape(x - where))
    assert place == pytest.approx(where, abs=2 * RESOLUTION + 1e-15)
    assert turns <= most


@pytest.mark.parametrize("first", np.linspace(0.02, 0.8, 40))
def test_the_first_of_two_crossings(first):
    """A dip as wide as a sixteenth of the step is always found, a quarter by quarters alone."""
    for width in (1.0 / 16, 0.1, 0.25, 0.7):
        last = first + width
        place, _ = found(lambda x, last=last: (x - first) * (x - last))
        assert place == (pytest.approx(first, abs=1e-14) if last <= 1.0 or first < 1.0 else None)


def test_a_crossing_in_the_first_bracket_and_not_the_deepest():
    place, _ = found(lambda x: 0.3 + np.cos(6.0 * np.pi * x) - 2.0 * x)
    assert place == pytest.approx(0.08974, abs=1e-5)


@pytest.mark.parametrize("start", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("end", [0.4, 0.5, 0.95])
def test_a_loss_that_is_no_number_counts_as_above(start, end):
    place, turns = found(lambda x: np.nan if start <= x < end else 1.0 - 2.0 * x)
    assert place == pytest.approx(max(end, 0.5), abs=2 * RESOLUTION)
    assert turns <= MOST_TURNS


@pytest.mark.parametrize("seed", range(200))
def test_whatever_the_losses_are_the_place_is_in_the_step_and_not_above(seed):
    generator = np.random.default_rng(seed)
    values = generator.choice([np.nan, np.inf, -np.inf, 0.0, -1e-300, -1.0, 1e-300, 1.0, 1e300], size=40)
    edges = np.sort(generator.random(values.size - 1))

    def height(x):
        return float(values[np.searchsorted(edges, x)]) if x > 0.0 else 1.0

    with np.errstate(all="ignore"):
        place, turns = found(height)
    assert turns <= MOST_TURNS
    if place is None:
        assert not any(height(x) <= 0.0 for x in LOOKS)
    else:
        assert 0.0 < place <= 1.0
        assert height(place) <= 0.0


def test_a_dip_between_two_looks_is_missed():
    assert found(lambda x: (x - 0.51) * (x - 0.55))[0] is None


@pytest.mark.parametrize("middle", np.linspace(-0.5, 1.5, 101))
def test_no_parabola_escapes_the_screen(middle):
    """Wherever the lowest point of a parabola is, the threshold just above it is near."""
    screen = (np.linspace(0.0, 1.0, 5) - middle) ** 2
    lowest = 0.0 if 0.0 <= middle <= 1.0 else min(screen)
    threshold = lowest + 1e-12
    assert event_search.near(min(screen), max(screen), threshold)
    assert not event_search.near(min(screen), max(screen), min(screen) - 0.13 * np.ptp(screen))


@pytest.mark.parametrize("number", range(5))
def test_a_screen_passes_over_a_loss_that_is_no_number(number):
    losses = [3.0, 1.0, 4.0, 2.0]
    losses.insert(number, np.nan)
    lowest, highest = np.inf, -np.inf
    for loss in losses:
        lowest, highest = event_search.extended(lowest, highest, loss)
    assert (lowest, highest) == (1.0, 4.0)


def test_losses_that_are_no_numbers_are_not_near():
    assert not event_search.near(np.nan, np.nan, 0.5)
    assert not event_search.near(np.inf, np.inf, 0.5)
    assert event_search.near(0.4, np.inf, 0.5)

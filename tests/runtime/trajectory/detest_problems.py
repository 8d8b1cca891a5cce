"""The nonstiff DETEST problems A1 to E5 as Numba functions, written anew from their definition.

T. E. Hull, W. H. Enright, B. M. Fellen, A. E. Sedgwick, SIAM J. Numer. Anal. 9, 603 (1972).
Initial values, names and an independent right-hand side come from nodepy; where a problem
depends on time, time is the last state here.
"""

from __future__ import annotations

import numpy as np
from nodepy import ivp

NAMES = tuple(f"{group}{number}" for group in "ABCDE" for number in range(1, 6))
WITH_TIME = ("A3", "A5", "E1", "E3", "E5")
T_END = 20.0

# Problem C5: the gravitational constant, the masses of the sun (with the inner planets) and of
# the five outer planets.
_GRAVITY = 2.95912208286
_SUN = 1.00000597682
_PLANETS = np.array(
    [0.000954786104043, 0.000285583733151, 0.0000437273164546, 0.0000517759138449, 0.00000277777777778]
)


def a1(y, _, dy):
    dy[0] = -y[0]


def a2(y, _, dy):
    dy[0] = -(y[0] ** 3) / 2.0


def a3(y, _, dy):
    dy[0] = y[0] * np.cos(y[1])
    dy[1] = 1.0


def a4(y, _, dy):
    dy[0] = y[0] / 4.0 * (1.0 - y[0] / 20.0)


def a5(y, _, dy):
    dy[0] = (y[0] - y[1]) / (y[0] + y[1])
    dy[1] = 1.0


def b1(y, _, dy):
    dy[0] = 2.0 * y[0] * (1.0 - y[1])
    dy[1] = -y[1] * (1.0 - y[0])


def b2(y, _, dy):
    dy[0] = y[1] - y[0]
    dy[1] = y[0] - 2.0 * y[1] + y[2]
    dy[2] = y[1] - y[2]


def b3(y, _, dy):
    dy[0] = -y[0]
    dy[1] = y[0] - y[1] ** 2
    dy[2] = y[1] ** 2


def b4(y, _, dy):
    radius = np.hypot(y[0], y[1])
    dy[0] = -y[1] - y[0] * y[2] / radius
    dy[1] = y[0] - y[1] * y[2] / radius
    dy[2] = y[0] / radius


def b5(y, _, dy):
    dy[0] = y[1] * y[2]
    dy[1] = -y[0] * y[2]
    dy[2] = -0.51 * y[0] * y[1]


def c1(y, _, dy):
    """A radioactive decay chain with equal rates."""
    last = y.size - 1
    dy[0] = -y[0]
    for i in range(1, last):
        dy[i] = y[i - 1] - y[i]
    dy[last] = y[last - 1]


def c2(y, _, dy):
    """A radioactive decay chain with rates 1 to 9."""
    last = y.size - 1
    dy[0] = -y[0]
    for i in range(1, last):
        dy[i] = i * y[i - 1] - (i + 1) * y[i]
    dy[last] = last * y[last - 1]


def c3(y, _, dy):
    """The heat equation on a line (10 points; C4 has 51)."""
    for i in range(y.size):
        left = y[i - 1] if i > 0 else 0.0
        right = y[i + 1] if i < y.size - 1 else 0.0
        dy[i] = left - 2.0 * y[i] + right


def c5(y, _, dy):
    """Five planets around the sun: positions planet by planet, then velocities."""
    for j in range(5):
        own = np.sqrt(y[3 * j] ** 2 + y[3 * j + 1] ** 2 + y[3 * j + 2] ** 2)
        for i in range(3):
            force = -(_SUN + _PLANETS[j]) * y[3 * j + i] / own**3
            for k in range(5):
                if k != j:
                    other = np.sqrt(y[3 * k] ** 2 + y[3 * k + 1] ** 2 + y[3 * k + 2] ** 2)
                    distance = np.sqrt(
                        (y[3 * k] - y[3 * j]) ** 2
                        + (y[3 * k + 1] - y[3 * j + 1]) ** 2
                        + (y[3 * k + 2] - y[3 * j + 2]) ** 2
                    )
                    force += _PLANETS[k] * (
                        (y[3 * k + i] - y[3 * j + i]) / distance**3 - y[3 * k + i] / other**3
                    )
            dy[3 * j + i] = y[15 + 3 * j + i]
            dy[15 + 3 * j + i] = _GRAVITY * force


def d(y, _, dy):
    """A two-body orbit; D1 to D5 differ in eccentricity only."""
    cubed = (y[0] ** 2 + y[1] ** 2) ** 1.5
    dy[0] = y[2]
    dy[1] = y[3]
    dy[2] = -y[0] / cubed
    dy[3] = -y[1] / cubed


def e1(y, _, dy):
    """Bessel's equation of order one half, shifted."""
    x = y[2] + 1.0
    dy[0] = y[1]
    dy[1] = -y[1] / x - (1.0 - 0.25 / x**2) * y[0]
    dy[2] = 1.0


def e2(y, _, dy):
    """Van der Pol's equation."""
    dy[0] = y[1]
    dy[1] = (1.0 - y[0] ** 2) * y[1] - y[0]


def e3(y, _, dy):
    """Duffing's equation."""
    dy[0] = y[1]
    dy[1] = y[0] ** 3 / 6.0 - y[0] + 2.0 * np.sin(2.78535 * y[2])
    dy[2] = 1.0


def e4(y, _, dy):
    """A body falling through air."""
    dy[0] = y[1]
    dy[1] = 0.032 - 0.4 * y[1] ** 2


def e5(y, _, dy):
    """Linear pursuit."""
    dy[0] = y[1]
    dy[1] = np.sqrt(1.0 + y[1] ** 2) / (25.0 - y[2])
    dy[2] = 1.0


def function_of(name):
    """The right-hand side of a problem, not compiled."""
    shared = {"C4": c3, **{f"D{number}": d for number in range(1, 6)}}
    return shared[name] if name in shared else globals()[name.lower()]


def nodepy_problem(name):
    """nodepy's problem: u0 and rhs(t, u)."""
    return ivp.detest(name)


def initial_state(name):
    """The initial state as a vector, with time where it is a state."""
    start = np.atleast_1d(np.asarray(nodepy_problem(name).u0, dtype=float))
    return np.append(start, 0.0) if name in WITH_TIME else start

"""Ctrl-C while kernels run or are about to: never lost, never another error."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading

import numpy as np
import pytest

from runtime.concurrency.interrupts import held_interrupts, remembered_interrupts
from runtime.trajectory.solver import SolverRules, solve
from runtime.trajectory.tableaux import TABLEAUX


@pytest.fixture(autouse=True)
def python_handler():
    """Python's own handler, also where the runner ignores the signal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def press():
    signal.raise_signal(signal.SIGINT)


def interrupted(body):
    """Run `body(deliver)` with held interrupts, which must end in KeyboardInterrupt; returns that."""

    def held():
        with held_interrupts() as deliver:
            body(deliver)

    with pytest.raises(KeyboardInterrupt) as caught:
        held()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return caught.value


def test_interrupt_waits_until_it_is_delivered():
    passed = []

    def body(deliver):
        deliver()
        press()
        passed.append("pressed")
        deliver()
        passed.append("delivered")

    interrupted(body)
    assert passed == ["pressed"]


def test_interrupt_waits_for_the_end():
    passed = []

    def body(_):
        press()
        passed.append("end")

    interrupted(body)
    assert passed == ["end"]


def test_interrupt_is_not_hidden_by_an_error():
    def body(_):
        press()
        raise ZeroDivisionError

    assert isinstance(interrupted(body).__context__, ZeroDivisionError)


def test_handler_that_returns_is_called_each_time_and_nothing_ends():
    seen = []
    signal.signal(signal.SIGINT, lambda number, _: seen.append(number))
    with held_interrupts() as deliver:
        press()
        press()
        assert seen == []
        deliver()
        deliver()
        assert seen == [signal.SIGINT] * 2
        press()
    assert seen == [signal.SIGINT] * 3


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL])
def test_what_is_no_function_stays(handler):
    signal.signal(signal.SIGINT, handler)
    with held_interrupts() as deliver:
        deliver()
        assert signal.getsignal(signal.SIGINT) == handler
    assert signal.getsignal(signal.SIGINT) == handler


def test_other_threads_do_not_touch_the_handler():
    seen = []

    def work():
        with held_interrupts() as deliver:
            deliver()
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]


# Functions that run when Numba types and unpacks the right-hand side, once or more a call of a
# kernel; there the exception was lost, or became a TypeError.
@pytest.mark.parametrize("function", ["_numba_type_", "_numba_unpickle"])
@pytest.mark.parametrize("call", [1, 2])
def test_ctrl_c_while_numba_unpacks_arguments(system_of, function, call):
    system = system_of(2, 1)
    y0 = system.pack(np.eye(2), np.full((2, 1), 0.1))
    parameters, rules = system.parameters(0.3), SolverRules(TABLEAUX["tsit5"], 1e-6, 1e-8)
    assert system.compiled_rhs
    seen = []

    def watch(frame, event, _):
        if event == "call" and frame.f_code.co_name == function:
            seen.append(function)
            if len(seen) == call:
                press()

    def solve_watched():
        sys.setprofile(watch)
        try:
            solve(system, y0, np.array([1.0]), parameters, rules)
        finally:
            sys.setprofile(None)

    with pytest.raises(KeyboardInterrupt):
        solve_watched()
    assert len(seen) >= call


@pytest.mark.parametrize("dropped", [True, False])
def test_an_interrupt_that_a_library_drops_is_raised_in_the_end(dropped):
    passed = []

    def compiled():
        with remembered_interrupts():
            with contextlib.suppress(KeyboardInterrupt if dropped else ()):
                press()
            passed.append("went on")

    with pytest.raises(KeyboardInterrupt):
        compiled()
    assert passed == ["went on"] * dropped
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_that_raises_nothing_is_called_once():
    calls = []
    signal.signal(signal.SIGINT, lambda *_: calls.append("called"))
    with remembered_interrupts():
        press()
    assert calls == ["called"]

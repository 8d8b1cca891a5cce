"""Derives the ODEs of the overlaps of a teacher-student problem, proves them, and writes code and LaTeX.

Each stage is a module. `model` says what to derive. `wick` writes the moments as diagrams, `equations`
the drift in terms of these, and `overlap_program` the statements on matrices that compute it. `emit`
prints these statements. `proof` compares them with the moments of `isserlis`, which are written out
component by component. `odes` does all of this for one model. `sector` does the same for aligned starts,
and `invariants` finds what the equations conserve.

This package is part of overlap-ode. The stub beside this file declares the public names. Each is imported
when it is first used, since most of them import a library for exact polynomials.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

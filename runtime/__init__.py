"""Loads generated systems, integrates, simulates and analyses their trajectories; part of overlap-ode.

The stub beside this file declares the public names. Each is imported when it is first used, since the help
of commands needs none of them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

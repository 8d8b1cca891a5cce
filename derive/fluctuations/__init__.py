"""Derives how overlaps fluctuate at order 1/N: the diffusion matrix, and the ODE of the covariance."""

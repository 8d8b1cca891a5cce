"""Integrates the covariance of the overlaps at order 1/N beside their ODE."""

"""Integrates one trajectory: Runge-Kutta methods, the compiled stepper, solvers, the dataset."""

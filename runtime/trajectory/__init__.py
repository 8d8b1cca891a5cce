"""One trajectory: Runge-Kutta pairs, the compiled stepper, solvers."""

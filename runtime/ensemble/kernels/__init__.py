"""The vector code that integrates an ensemble: right-hand side, adaptive steps, dense output, the loop."""

"""The vector code of an ensemble: right-hand side, adaptive step, dense output."""

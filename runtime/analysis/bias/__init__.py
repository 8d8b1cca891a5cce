"""Studies the implicit bias: which of the zero-loss solutions a run reaches."""

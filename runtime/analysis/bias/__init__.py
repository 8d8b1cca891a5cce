"""Implicit bias: which of the zero-loss solutions is reached."""

"""Regenerates the claims of arXiv:2604.03068 as figures and verdicts, with one module per claim."""

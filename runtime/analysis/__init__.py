"""Analyses states and runs: plateau and escape, landscape, implicit bias, conserved quantities."""

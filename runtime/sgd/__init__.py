"""Simulates one-pass SGD at finite N, by the exact chain of the overlaps or on actual weights."""

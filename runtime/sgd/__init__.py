"""One-pass SGD at finite N: the exact chain of the overlaps, and actual weights."""

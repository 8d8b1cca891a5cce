"""Initial overlaps and teachers, and the checks of arrays and numbers that a user passes."""

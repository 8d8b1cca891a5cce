"""Makes initial overlaps and teachers, and checks the arrays and numbers that a user passes."""

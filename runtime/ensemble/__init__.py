"""Many trajectories at once, in vector code, and their statistics."""

"""Integrates many trajectories at once, in vector code, and takes their statistics."""

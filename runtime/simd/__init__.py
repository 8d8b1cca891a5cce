"""The ensemble engine: vector code for many trajectories at once, a lane each."""

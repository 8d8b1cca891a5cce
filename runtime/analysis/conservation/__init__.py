"""Measures how well a run keeps what its equations conserve."""

"""Finds the plateau, the state without alignment, with numbers and in closed form."""

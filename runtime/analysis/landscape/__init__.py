"""Describes the loss around critical points and solutions: Hessians and stability."""

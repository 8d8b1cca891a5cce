"""Measures and predicts how long networks stay on the plateau."""

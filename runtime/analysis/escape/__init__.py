"""How long networks stay on the plateau, measured and predicted."""

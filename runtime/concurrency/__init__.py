"""Thread pools that react to Ctrl-C, and signals where compiled code would lose them."""

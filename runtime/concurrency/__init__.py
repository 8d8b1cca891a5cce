"""Threads that react to Ctrl-C: pools of them, and signals where compiled code would lose them."""

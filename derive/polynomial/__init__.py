"""Route 2 and its program for any polynomial activation, and the proof that it equals route 1."""

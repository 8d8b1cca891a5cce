"""The time that the mediocre start takes, and the information exponent of the activation behind it."""

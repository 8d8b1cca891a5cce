"""Sweeps over parameters: runs one task per combination on many workers and keeps each result in a file."""

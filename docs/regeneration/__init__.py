"""What `docs/regenerate.py` writes: the tables of README and docs, and the JSON schemas."""

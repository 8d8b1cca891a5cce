"""Files that appear whole or not at all, text tables, figures, claims; opening files that others wrote."""

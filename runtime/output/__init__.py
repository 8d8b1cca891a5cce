"""How results leave the program: files that appear whole or not at all, tables, figures, progress."""

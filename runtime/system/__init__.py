"""Verifies, compiles and caches generated code: a folder of generated files becomes a `System`."""

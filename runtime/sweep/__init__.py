"""Sweeps over parameters: every task an atomic shard in a folder, on threads, processes or a cluster."""

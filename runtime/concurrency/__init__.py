"""Runs tasks on threads, and keeps Ctrl-C working while compiled code runs."""

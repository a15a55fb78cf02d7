"""Compiled loops; their callers validate."""

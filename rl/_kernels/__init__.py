"""Compiled loops, one file per structure: arrays and scalars in, arrays and scalars out."""

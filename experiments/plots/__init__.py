"""Rows to figures; the only package that knows Matplotlib. One file a kind of figure, `base.py` what they share."""

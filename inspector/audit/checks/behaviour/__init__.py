"""Checks of the family behaviour, one file each."""

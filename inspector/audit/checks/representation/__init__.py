"""Checks of the family representation, one file each."""

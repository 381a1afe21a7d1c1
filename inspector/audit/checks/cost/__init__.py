"""Checks of the family cost, one file each."""

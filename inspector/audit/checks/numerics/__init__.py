"""Checks of the family numerics, one file each."""

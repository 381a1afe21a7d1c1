"""Checks of the family explanation, one file each."""

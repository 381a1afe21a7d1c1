"""Checks of the family file, one file each."""

"""Tests of slimming: what is cut, what stays, and that nothing changes."""

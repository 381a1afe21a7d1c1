"""The class activation maps: whether they show what counts, and whether the network looks where it should."""

"""The file itself: what is in it, before anything is run."""

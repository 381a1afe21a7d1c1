"""The numbers: whether every run gives finite values, and every runtime the same ones."""

"""`inspector attach`: outputs written behind a network."""

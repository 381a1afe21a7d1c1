"""The channels: whether the layers still tell pictures apart."""

"""Smaller files: int8 and fp16, with what it does to every layer. No torch."""

"""Gradients in numpy through the part of a graph behind a layer: an engine beside the twin. No torch."""

from inspector.reverse.head import Head, find_head

__all__ = ["Head", "find_head"]

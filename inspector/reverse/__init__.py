"""Gradients in numpy through the part of a graph behind a layer: an engine beside the twin. No torch."""

from inspector.reverse.head import Head, find_head
from inspector.reverse.spot import Spot, SpotValues

__all__ = ["Head", "Spot", "SpotValues", "find_head"]

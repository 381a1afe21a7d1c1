"""The derivatives, family by family: importing this package registers them all."""

from inspector.reverse.rule import RULES
from inspector.reverse.rules import activations, arithmetic, form, pooling, resize, weights

__all__ = ["RULES", "activations", "arithmetic", "form", "pooling", "resize", "weights"]

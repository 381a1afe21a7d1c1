"""The derivatives as nodes, family by family; importing the package registers them all."""

from exporters.attaching.rules import activations, arithmetic, form, pooling, quantized, resize, weights

__all__ = ["activations", "arithmetic", "form", "pooling", "quantized", "resize", "weights"]

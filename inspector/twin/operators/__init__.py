"""The operators by family. Importing this package fills the table."""

from inspector.twin.operators import (
    activation,
    attention,
    control,
    convolution,
    elementwise,
    indexing,
    linear,
    normalisation,
    padding,
    pooling,
    quantize,
    reduction,
    resize,
    sequence,
    shape,
    vision,
)

__all__ = [
    "activation",
    "attention",
    "control",
    "convolution",
    "elementwise",
    "indexing",
    "linear",
    "normalisation",
    "padding",
    "pooling",
    "quantize",
    "reduction",
    "resize",
    "sequence",
    "shape",
    "vision",
]

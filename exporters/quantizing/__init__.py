"""Smaller files: int8 and fp16, with what it does to every layer. No torch."""

from exporters.quantizing.cost import QuantizedModel
from exporters.quantizing.quantizable import QuantizeError
from exporters.quantizing.quantize import quantize_model

__all__ = ["QuantizeError", "QuantizedModel", "quantize_model"]

"""A torch network becomes one .onnx file, proven against the network it came from. Needs torch."""

from exporters.exporting.checks import ExportError
from exporters.exporting.export import Exported, export_onnx
from exporters.exporting.parity import ParityError

__all__ = ["ExportError", "Exported", "ParityError", "export_onnx"]

"""Everything that makes a model: torch networks by name, fine-tuning, and their export to one .onnx file.

The names below are loaded when they are first used; `import exporters` alone imports no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exporters.checks import ExportError as ExportError
    from exporters.finetuning.finish import export_run as export_run
    from exporters.finetuning.run import finetune as finetune
    from exporters.finetuning.run import plan_finetune as plan_finetune
    from exporters.onnx import Exported as Exported
    from exporters.onnx import export_onnx as export_onnx
    from exporters.parity import Parity as Parity
    from exporters.parity import ParityError as ParityError
    from exporters.sources import Source as Source
    from exporters.sources import SourceError as SourceError
    from exporters.sources import load_source as load_source
    from exporters.weights import WeightsError as WeightsError

_HOME = {
    "ExportError": "exporters.checks",
    "Exported": "exporters.onnx",
    "Parity": "exporters.parity",
    "ParityError": "exporters.parity",
    "Source": "exporters.sources",
    "SourceError": "exporters.sources",
    "WeightsError": "exporters.weights",
    "export_onnx": "exporters.onnx",
    "export_run": "exporters.finetuning.finish",
    "finetune": "exporters.finetuning.run",
    "load_source": "exporters.sources",
    "plan_finetune": "exporters.finetuning.run",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'exporters' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)

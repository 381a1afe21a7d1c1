"""The torch twin: a torch module built from an .onnx file, for everything that needs gradients.

>>> import torch
>>> from inspector.graph import read_graph
>>> graph = read_graph("models/efficientnet-lite0.onnx")
>>> twin = build_twin(graph, outputs=["logits"])
>>> picture = model.tensor("docs/chelsea.jpg")
>>> agreement = verify_twin(twin, graph, {"input": picture})
>>> with torch.no_grad():
...     twin(torch.from_numpy(picture))["logits"].shape
torch.Size([1, 1000])
"""

from inspector.extras import need

need("torch", "torch", "the twin needs torch")

from inspector.agreement import Agreement
from inspector.twin.builder import build_twin
from inspector.twin.module import Twin, write_back
from inspector.twin.support import (
    TwinUnsupported,
    Unsupported,
    find_unsupported,
    list_supported_operators,
)
from inspector.twin.verify import TwinMismatch, verify_twin

__all__ = [
    "Agreement",
    "Twin",
    "TwinMismatch",
    "TwinUnsupported",
    "Unsupported",
    "build_twin",
    "find_unsupported",
    "list_supported_operators",
    "verify_twin",
    "write_back",
]

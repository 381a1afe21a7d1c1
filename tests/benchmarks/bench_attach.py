"""What attached outputs cost: a run of the file with a map against the bare file, and input gradients against others.

    python tests/benchmarks/bench_attach.py [--threads N] [--rounds N] [lite0 resnet50 mobilenet_v3_large vgg16]

Weights of torchvision's networks are random; that changes no time. Needs the extras torch and zoo.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from measure import DEFAULT_MODEL, paired, report

from exporters.attaching import attach_outputs
from inspector.model import open_model
from inspector.twin import build_twin

LIMIT = 1.10


def write_network(name: str, folder: Path) -> Path:
    """The file of a network."""
    if name == "lite0":
        return DEFAULT_MODEL
    import torchvision

    path = folder / f"{name}.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            getattr(torchvision.models, name)(weights=None).eval(), (torch.zeros(1, 3, 224, 224),), str(path),
            dynamo=False, opset_version=17, input_names=["x"], output_names=["y"],
        )  # fmt: skip
    return path


def open_session(path: Path, threads: int) -> Any:
    """A session of onnxruntime alone, as a program would have it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def measure_maps(name: str, threads: int, rounds: int, folder: Path) -> bool:
    """The run with the map against the bare run, with the outputs that each has."""
    source = write_network(name, folder)
    made = attach_outputs(source, folder / f"{name}-cam.onnx", cam="gradcam").path
    x = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    bare, more = (open_session(path, threads) for path in (source, made))
    entry = bare.get_inputs()[0].name
    answers = [o.name for o in bare.get_outputs()][:1]
    added = [o.name for o in more.get_outputs()][len(bare.get_outputs()) :]
    b, a, ratio = paired(
        lambda: more.run(answers + added, {entry: x}), lambda: bare.run(answers, {entry: x}), rounds, block=5
    )
    print(f"     {name}: bare {1e3 * a:.1f} ms, with {', '.join(added)} {1e3 * b:.1f} ms")
    return report(f"{name} with attached maps / bare", ratio, LIMIT)


def measure_gradients(threads: int, rounds: int, folder: Path) -> None:
    """The gradient of the default model's top score with respect to the picture, three ways."""
    model = open_model(DEFAULT_MODEL)
    made = attach_outputs(model, folder / "saliency.onnx", saliency="gradient").path
    assert model.classifier is not None
    scores = model.classifier.scores
    twin = build_twin(model.graph, outputs=[scores])
    x = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    session, bare = open_session(made, threads), open_session(DEFAULT_MODEL, threads)
    entry = session.get_inputs()[0].name

    def autograd() -> Any:
        given = torch.from_numpy(x).requires_grad_()
        row = twin(given)[scores].reshape(-1)
        (found,) = torch.autograd.grad(row[row.argmax()], given)
        return found

    ours, theirs, ratio = paired(lambda: session.run(["saliency"], {entry: x}), autograd, rounds, block=3)
    print(f"     input gradient: attached {1e3 * ours:.1f} ms, torch autograd {1e3 * theirs:.1f} ms")
    report("attached gradient / torch autograd", ratio, 1.0)
    ours, theirs, ratio = paired(
        lambda: session.run(["saliency"], {entry: x}), lambda: bare.run(["logits"], {entry: x}), rounds, block=3
    )
    print(f"     input gradient / bare run: {ratio:.2f}")


def main() -> int:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=["lite0", "resnet50", "mobilenet_v3_large", "vgg16"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as place:
        good = [measure_maps(name, given.threads, given.rounds, Path(place)) for name in given.names]
        measure_gradients(given.threads, given.rounds, Path(place))
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())

"""What attached outputs cost: a run of the file with a map against the bare file, and input gradients against others.

    python tests/benchmarks/bench_attach.py [--threads N] [--rounds N] [--cam METHOD] [--all-classes] [NAME ...]

Names are those of torchvision, lite0, and gradients. Without any: EfficientNet-Lite0, MobileNetV3 and the gradients,
less than a minute. Weights of torchvision's networks are random; that changes no time. Needs the extras torch and zoo,
and for one comparison onnxsim 0.8.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
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


def measure_maps(name: str, method: str, every: bool | None, threads: int, rounds: int, folder: Path) -> bool:
    """The run with the map against the bare run, with the outputs that each has."""
    source = write_network(name, folder)
    made = attach_outputs(source, folder / f"{name}-cam.onnx", cam=method, all_classes=every).path
    x = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    bare, more = (open_session(path, threads) for path in (source, made))
    entry = bare.get_inputs()[0].name
    answers = [o.name for o in bare.get_outputs()][:1]
    added = [o.name for o in more.get_outputs()][len(bare.get_outputs()) :]
    b, a, ratio = paired(
        lambda: more.run(answers + added, {entry: x}), lambda: bare.run(answers, {entry: x}), rounds, block=5
    )
    print(f"     {name}: bare {1e3 * a:.1f} ms, with {', '.join(added)} {1e3 * b:.1f} ms")
    return report(f"{name} with attached {method} / bare", ratio, LIMIT)


def write_their_gradient(path: Path, scores: str, folder: Path) -> Path | None:
    """The same gradient by onnxsim's graph_grad, for one picture; None where that is not installed."""
    try:
        from onnxsim.graph_grad import build_backward
        from onnxsim.qat_graph import GraphBuilder
    except ImportError:
        print("     onnxsim 0.8 is not installed: nothing to compare graph_grad by")
        return None
    proto = onnx.load(path)
    graph = proto.graph
    graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    entry = graph.input[0].name
    proto = onnx.shape_inference.infer_shapes(proto)
    graph = proto.graph
    values = [*graph.input, *graph.value_info, *graph.output]
    shapes = {v.name: [d.dim_value or 1 for d in v.type.tensor_type.shape.dim] for v in values}
    shapes.update((tensor.name, list(tensor.dims)) for tensor in graph.initializer)
    build = GraphBuilder("theirs_")
    top = build.op("ArgMax", [scores], axis=1, keepdims=1)
    graph.initializer.append(onnx.numpy_helper.from_array(np.arange(shapes[scores][-1])[None], "places"))
    seed = build.op("Cast", [build.op("Equal", [top, "places"])], to=onnx.TensorProto.FLOAT)
    found = build_backward(build, list(graph.node), shapes, {scores: seed}, [entry])[entry]
    graph.node.extend([*build.nodes, onnx.helper.make_node("Identity", [found], ["saliency"])])
    graph.initializer.extend(build.initializer)
    proto.functions.extend(build.functions)
    proto.opset_import.extend(onnx.helper.make_opsetid(d, 1) for d in sorted({f.domain for f in build.functions}))
    proto = onnx.inliner.inline_local_functions(proto)
    del proto.graph.output[:]
    proto.graph.output.extend([onnx.ValueInfoProto(name="saliency")])
    onnx.save(proto, folder / "theirs.onnx")
    return folder / "theirs.onnx"


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
    mine = session.run(["saliency"], {entry: x})[0]
    print(f"     they differ by {np.abs(mine - autograd().numpy()).max() / np.abs(mine).max():.1e} of the largest")
    path = write_their_gradient(DEFAULT_MODEL, scores, folder)
    if path is not None:
        other = open_session(path, threads)
        apart = np.abs(mine - other.run(["saliency"], {entry: x})[0]).max() / np.abs(mine).max()
        ours, theirs, ratio = paired(
            lambda: session.run(["saliency"], {entry: x}), lambda: other.run(["saliency"], {entry: x}), min(rounds, 3)
        )
        print(f"     input gradient: attached {1e3 * ours:.1f} ms, graph_grad {1e3 * theirs:.1f} ms, {apart:.1e} apart")
        report("attached gradient / onnxsim graph_grad", ratio, 1.0)
        sizes = [file.stat().st_size / 1e6 for file in (made, path)]
        print(f"     files: attached {sizes[0]:.1f} MB, graph_grad {sizes[1]:.1f} MB")
    ours, theirs, ratio = paired(
        lambda: session.run(["saliency"], {entry: x}), lambda: bare.run(["logits"], {entry: x}), rounds, block=3
    )
    print(f"     input gradient / bare run: {ratio:.2f}")


def main() -> int:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=["lite0", "mobilenet_v3_large", "gradients"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--cam", default="gradcam")
    parser.add_argument("--all-classes", action="store_true", default=None)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        nets = [name for name in given.names if name != "gradients"]
        good = [measure_maps(name, given.cam, given.all_classes, given.threads, given.rounds, folder) for name in nets]
        if "gradients" in given.names:
            measure_gradients(given.threads, given.rounds, folder)
    print("load of the machine, 1 and 5 minutes: {:.1f} {:.1f}".format(*os.getloadavg()))
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())

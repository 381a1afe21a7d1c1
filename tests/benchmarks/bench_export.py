"""What exposing the layers costs at run time, and what an export costs beyond torch's own exporter.

python tests/benchmarks/bench_export.py [--threads N]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import onnx
import onnxruntime
import torch
from measure import DEFAULT_MODEL, PHOTO, clock, paired, report

from exporters.exporting.export import export_onnx
from exporters.sources import load_source
from exporters.sources.needs import quiet
from inspector.image import open_image
from inspector.metadata import read_metadata


def with_outputs(keep: Callable[[str], bool], folder: Path) -> Path:
    """The default model with the layers exposed whose kind `keep` accepts; pre is one whose activation follows."""
    model = onnx.load(DEFAULT_MODEL)
    maker = {name: node.op_type for node in model.graph.node for name in node.output}
    before = {node.input[0] for node in model.graph.node if node.op_type == "Clip"}
    layers = [o for o in model.graph.output[1:] if keep("pre" if o.name in before else maker[o.name])]
    scores = model.graph.output[0]
    del model.graph.output[:]
    model.graph.output.extend([scores, *layers])
    path = folder / f"{len(layers)}.onnx"
    onnx.save(model, path)
    return path


def session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    threads = parser.parse_args().threads
    good = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        preprocess = read_metadata({p.key: p.value for p in onnx.load(DEFAULT_MODEL).metadata_props}).preprocess
        assert preprocess is not None
        feed = {"input": preprocess.tensor(open_image(PHOTO))}
        bare = session(with_outputs(lambda _: False, folder), threads)
        for what, keep in (
            ("the residual adds", lambda kind: kind == "Add"),
            ("all layers but convolutions before an activation", lambda kind: kind != "pre"),
            ("all layers", lambda _: True),
        ):
            exposed = session(with_outputs(keep, folder), threads)
            values = exposed.run(None, feed)
            a, b, ratio = paired(lambda run=exposed.run: run(None, feed), lambda: bare.run(None, feed), 10, 8)
            size = sum(value.nbytes for value in values) / 1e6
            print(f"     {what}: {len(values)} outputs, {size:.0f} MB, {a * 1e3:.1f} ms; bare {b * 1e3:.1f} ms")
        good.append(report("EfficientNet-Lite0 with all layers exposed against the bare network", ratio, 1.2))

        torch.manual_seed(0)
        source = load_source("torchvision:resnet18")
        picture = (torch.rand(2, 3, 224, 224),)
        options = {"dynamo": True, "external_data": False, "dynamic_shapes": ({0: "N"},), "verbose": False}

        def theirs() -> None:
            with quiet():
                torch.onnx.export(source.module.eval(), picture, folder / "torch.onnx", **options)

        theirs()
        ours = min(clock(lambda: export_onnx(source, folder / "ours.onnx")) for _ in range(3))
        alone = min(clock(theirs) for _ in range(3))
        print(f"     ResNet-18: export with proof {ours:.1f} s, torch.onnx.export {alone:.1f} s")
        good.append(report("export with names, metadata and parity against torch.onnx.export", ours / alone, 2))
    sys.exit(not all(good))


if __name__ == "__main__":
    main()

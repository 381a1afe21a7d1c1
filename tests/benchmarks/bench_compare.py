"""`inspector compare` against Polygraphy with all tensors marked: time and peak memory of whole processes, on one pair.

    python -m tests.benchmarks.bench_compare [--pictures 24] [--peers FOLDER]

The pair is the default model and a copy with one changed weight. Polygraphy (PyPI) is imported from the environment, or
from FOLDER (`pip install --target FOLDER --no-deps polygraphy`). Both read the same pictures, run both files on
onnxruntime with the same number of threads, and compare every layer; inspector also runs each layer on the other's
values. The bare process that imports numpy, onnx and onnxruntime is told beside them.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from PIL import Image

from tests.benchmarks.measure import DEFAULT_MODEL, PHOTO, ROOT, process

THREADS = 2

POLYGRAPHY = """
import sys
from pathlib import Path
import onnxruntime
from polygraphy.backend.onnx import BytesFromOnnx, ModifyOutputs, OnnxFromPath
from polygraphy.backend.onnxrt import OnnxrtRunner
from polygraphy.comparator import Comparator, CompareFunc
from polygraphy import constants
from inspector.image import open_image
from inspector.model import open_model
a, b, folder, _ = sys.argv[1:]
model = open_model(a)
feeds = [{model.input.name: model.tensor(p)} for p in sorted(Path(folder).iterdir())]
def load(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(sys.argv[4])
    data = BytesFromOnnx(ModifyOutputs(OnnxFromPath(path), outputs=constants.MARK_ALL))()
    return lambda: onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
runners = [OnnxrtRunner(load(a), name="a"), OnnxrtRunner(load(b), name="b")]
results = Comparator.run(runners, data_loader=feeds)
print(bool(Comparator.compare_accuracy(results, compare_func=CompareFunc.simple(atol=1e-4, rtol=1e-4))))
"""

INSPECTOR = """
import sys
import inspector
found = inspector.compare(sys.argv[1], sys.argv[2], sys.argv[3], threads=int(sys.argv[4]))
print(found.parted.layer)
"""

BARE = "import numpy, onnx, onnxruntime"


def make_pair(folder: Path, pictures: int) -> tuple[Path, Path]:
    """A copy of the default model with one changed weight, and a folder of pictures."""
    model = onnx.load(str(DEFAULT_MODEL))
    tensor = next(t for t in model.graph.initializer if len(t.dims) == 4 and t.dims[0] == 96)
    values = numpy_helper.to_array(tensor).copy()
    values.flat[7] += 0.5
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, str(folder / "b.onnx"))
    data = folder / "pictures"
    data.mkdir()
    photo, rng = Image.open(PHOTO).convert("RGB"), np.random.default_rng(0)
    for k in range(pictures):
        left, top = rng.integers(0, 120, 2)
        photo.crop((left, top, left + 280, top + 180)).save(data / f"{k:03}.png")
    return folder / "b.onnx", data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--peers", default="")
    given = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), given.peers, os.environ.get("PYTHONPATH"))))
    os.environ["POLYGRAPHY_AUTOINSTALL_DEPS"] = "0"
    with tempfile.TemporaryDirectory() as name:
        other, data = make_pair(Path(name), given.pictures)
        arguments = [str(DEFAULT_MODEL), str(other), str(data), str(THREADS)]
        bare = process([sys.executable, "-c", BARE])
        ours = process([sys.executable, "-c", INSPECTOR, *arguments])
        theirs = process([sys.executable, "-c", POLYGRAPHY, *arguments])
    for words, (seconds, peak) in (("bare imports", bare), ("inspector", ours), ("Polygraphy", theirs)):
        print(f"{words:14} {seconds:7.1f} s {peak:8.0f} MB")
    print(f"time: {ours[0] / theirs[0]:.2f} of Polygraphy's; memory: {ours[1] / theirs[1]:.3f} of Polygraphy's")


if __name__ == "__main__":
    main()

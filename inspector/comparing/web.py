"""onnxruntime-web under node: what a browser computes, without one."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.errors import MissingExtra, ModelError, one_line

PACKAGE = "onnxruntime-web"
_SECONDS = 600
_HINT = f"install node, and `npm install {PACKAGE}` in the current folder"

_SCRIPT = """
const fs = require('fs'), path = require('path');
const [folder, library] = process.argv.slice(2);
const ort = require(library);
const types = {float32: Float32Array, int64: BigInt64Array, int32: Int32Array, uint8: Uint8Array, int8: Int8Array,
  bool: Uint8Array, float64: Float64Array, uint16: Uint16Array, int16: Int16Array, float16: Uint16Array};
(async () => {
  const task = JSON.parse(fs.readFileSync(path.join(folder, 'task.json'), 'utf8'));
  ort.env.wasm.numThreads = 1;
  const session = await ort.InferenceSession.create(new Uint8Array(fs.readFileSync(path.join(folder, 'model.onnx'))));
  const feeds = {};
  task.inputs.forEach((input, k) => {
    const bytes = fs.readFileSync(path.join(folder, `in-${k}`));
    const data = new types[input.type](bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
    feeds[input.name] = new ort.Tensor(input.type, data, input.shape); });
  const found = await session.run(feeds), told = [];
  task.outputs.forEach((name, k) => {
    const tensor = found[name], data = tensor.data;
    fs.writeFileSync(path.join(folder, `out-${k}`), Buffer.from(data.buffer, data.byteOffset, data.byteLength));
    told.push({type: tensor.type, shape: tensor.dims}); });
  fs.writeFileSync(path.join(folder, 'told.json'), JSON.stringify(told));
})().catch((error) => { console.error(String(error)); process.exit(1); });
"""


def make_web() -> Callable[[bytes, Sequence[str], Sequence[str]], Callable[[Mapping[str, NDArray[Any]]], list[Any]]]:
    """What makes functions of arrays out of models.

    Raises:
        MissingExtra: node or its package is not there.
    """
    node = shutil.which("node")
    if node is None:
        raise MissingExtra("the runtime web needs node, which is not installed", _HINT)
    where = subprocess.run(
        [node, "-p", f"require.resolve('{PACKAGE}', {{paths: [process.cwd()]}})"], capture_output=True, text=True,
        timeout=_SECONDS,
    )  # fmt: skip
    if where.returncode:
        raise MissingExtra(f"the runtime web needs {PACKAGE}, which node does not find from here", _HINT)
    library = where.stdout.strip()

    def build(model: bytes, inputs: Sequence[str], outputs: Sequence[str]) -> Callable[..., list[Any]]:
        def run(given: Mapping[str, NDArray[Any]]) -> list[Any]:
            with tempfile.TemporaryDirectory() as name:
                return _run(node, library, Path(name), model, {x: given[x] for x in inputs}, outputs)

        return run

    return build


def _run(
    node: str, library: str, folder: Path, model: bytes, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str]
) -> list[NDArray[Any]]:
    (folder / "model.onnx").write_bytes(model)
    (folder / "script.cjs").write_text(_SCRIPT)
    told = [{"name": name, "type": str(x.dtype), "shape": list(x.shape)} for name, x in feeds.items()]
    (folder / "task.json").write_text(json.dumps({"inputs": told, "outputs": list(outputs)}))
    for k, value in enumerate(feeds.values()):
        (folder / f"in-{k}").write_bytes(np.ascontiguousarray(value).tobytes())
    done = subprocess.run(
        [node, str(folder / "script.cjs"), str(folder), library], capture_output=True, text=True, timeout=_SECONDS
    )
    if done.returncode:
        raise ModelError(f"onnxruntime-web cannot run the model: {one_line(done.stderr, 300)}")
    return [
        np.fromfile(folder / f"out-{k}", x["type"]).reshape(x["shape"])
        for k, x in enumerate(json.loads((folder / "told.json").read_text()))
    ]

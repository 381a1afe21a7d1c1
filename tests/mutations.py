"""Damaged files, made the same way for the same seed, and the process that feeds them to the package.

``python -m tests.mutations models FOLDER SEED START STOP`` runs inputs START to STOP and prints one line before and one
after each, so that whoever reads along knows which input a crash belongs to. The kinds are models, images, and
commands: a model again, given to one command with all that it writes. Tens of thousands: ``tests/many_mutations.py``.
"""

from __future__ import annotations

import io
import os
import resource
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx

# Address space, not memory in use: arenas and mapped libraries are counted, and torch maps 20 GiB of them.
MEMORY = {"models": 6 * 1024**3, "images": 6 * 1024**3, "commands": 40 * 1024**3}
SECONDS = {"models": 10, "images": 10, "commands": 60}  # of the processor: a busy machine is no fault
WAITED = 60  # times as long by the clock: something waits for what does not come

MODELS = (
    "tf2onnx_mobilenet", "paddle", "pytorch_1", "yolo", "quantised", "gelu_hardswish_mish", "local_functions",
    "computed_weights", "normalises_itself", "unnamed", "one_logit", "half_precision",
)  # fmt: skip


# --- bytes ------------------------------------------------------------------------------------------------------------


def peak_memory() -> int:
    """Kilobytes of this process alone. getrusage begins with those of the process that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def mutate_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    """One to four edits that know nothing of the format."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        if not out:
            break
        kind = int(rng.integers(0, 8))
        at = int(rng.integers(0, len(out)))
        length = int(min(len(out) - at, 2 ** rng.integers(0, 9)))
        if kind == 0:
            out[at] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1:
            del out[at : at + length]
        elif kind == 2:
            out[at:at] = out[at : at + length]
        elif kind == 3:
            out[at : at + length] = rng.bytes(length)
        elif kind == 4:
            del out[at:]
        elif kind == 5:  # a varint, or part of one
            value = int(rng.choice([0, 1, 127, 128, 255, 2**31 - 1, 2**31, 2**63, 2**64 - 1]))
            out[at : at + 1] = _varint(value)
        elif kind == 6:
            other = int(rng.integers(0, len(out)))
            out[at : at + length] = out[other : other + length]
        else:
            out[at] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF]))
    return bytes(out)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


# --- structure --------------------------------------------------------------------------------------------------------

_SIZES = [-1, 0, 1, 2, 3, 5, 7, 1000, 65536, 2**31 - 1, 2**31, 2**40, -(2**31), 2**63 - 1, -(2**63)]
_OPS = (
    "Conv Relu Add Mul Concat Reshape Transpose Gemm MatMul MaxPool GlobalAveragePool Softmax Clip Pad Resize Tile "
    "Expand Slice Split Gather Squeeze Unsqueeze Flatten Cast Shape ConstantOfShape BatchNormalization LRN Identity If "
    "Loop Scan ReduceMean QuantizeLinear DequantizeLinear QLinearConv TopK NonMaxSuppression Range Where OneHot Einsum "
    "ScatterND DepthToSpace SpaceToDepth ConvTranspose Upsample LSTM RandomNormal SequenceAt Optional NoSuchOp"
).split()


def mutate_model(data: bytes, rng: np.random.Generator, edits: int | None = None) -> bytes:
    """One to three edits of the parsed model: sizes, operators, attributes, names, types, wiring."""
    model = onnx.ModelProto.FromString(data)
    for _ in range(edits or int(rng.integers(1, 4))):
        edit = _EDITS[int(rng.integers(0, len(_EDITS)))]
        edit(model, rng)
    return model.SerializeToString()


def _pick(rng: np.random.Generator, items: Any) -> Any:
    return items[int(rng.integers(0, len(items)))] if len(items) else None


def _any_size(rng: np.random.Generator) -> int:
    return int(_SIZES[int(rng.integers(0, len(_SIZES)))])


def _dims(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    tensor = _pick(rng, model.graph.initializer)
    if tensor is None:
        return
    how = int(rng.integers(0, 4))
    if how == 0 and len(tensor.dims):
        tensor.dims[int(rng.integers(0, len(tensor.dims)))] = _any_size(rng)
    elif how == 1:
        tensor.dims.append(_any_size(rng))
    elif how == 2:
        kept = list(tensor.dims)
        rng.shuffle(kept)
        del tensor.dims[:]
        tensor.dims.extend(kept)
    else:
        del tensor.dims[:]


def _input_dims(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    value = _pick(rng, [*model.graph.input, *model.graph.output])
    dims = value.type.tensor_type.shape.dim
    if len(dims):
        dim = _pick(rng, dims)
        if rng.random() < 0.2:
            dim.dim_param = "N\n\0" if rng.random() < 0.5 else ""
        else:
            dim.dim_value = _any_size(rng)


def _element_type(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    kind = int(rng.choice([0, 1, 2, 3, 6, 7, 8, 9, 10, 11, 12, 14, 16, 17, 21, 23, 24, 99]))
    if rng.random() < 0.5 and model.graph.initializer:
        _pick(rng, model.graph.initializer).data_type = kind
    else:
        _pick(rng, [*model.graph.input, *model.graph.output]).type.tensor_type.elem_type = kind


def _operator(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    node = _pick(rng, model.graph.node)
    node.op_type = str(_pick(rng, _OPS))
    if rng.random() < 0.1:
        node.domain = str(_pick(rng, ["com.microsoft", "ai.onnx.ml", "evil", "ai.onnx"]))


def _attribute(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    with_attributes = [n for n in model.graph.node if n.attribute]
    node = _pick(rng, with_attributes)
    if node is None:
        return
    index = int(rng.integers(0, len(node.attribute)))
    attribute = node.attribute[index]
    how = int(rng.integers(0, 6))
    if how == 0:
        attribute.i = _any_size(rng)
        for k in range(len(attribute.ints)):
            if rng.random() < 0.5:
                attribute.ints[k] = _any_size(rng)
    elif how == 1:
        attribute.ints.append(_any_size(rng))
    elif how == 2:
        del attribute.ints[:]
    elif how == 3:
        attribute.type = int(rng.integers(0, 15))
    elif how == 4:
        del node.attribute[index]
    else:
        attribute.name = str(_pick(rng, ["", "axis", "pads", "strides", "value", "to", "perm", "\n"]))


def _new_attribute(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    node = _pick(rng, model.graph.node)
    name = str(
        _pick(rng, ["axis", "axes", "pads", "strides", "kernel_shape", "dilations", "group", "perm", "auto_pad", "to"])
    )
    value = [_any_size(rng) for _ in range(int(rng.integers(0, 5)))] or _any_size(rng)
    node.attribute.append(onnx.helper.make_attribute(name, value))


def _name(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    node = _pick(rng, model.graph.node)
    other = _pick(rng, model.graph.node)
    how = int(rng.integers(0, 5))
    if how == 0 and len(node.input) and len(other.output):
        node.input[int(rng.integers(0, len(node.input)))] = other.output[0]
    elif how == 1 and len(node.output) and len(other.output):
        node.output[0] = other.output[0]
    elif how == 2 and len(node.input):
        node.input[int(rng.integers(0, len(node.input)))] = str(_pick(rng, ["", "nothing", "\x1b[31m\n", "x" * 3000]))
    elif how == 3:
        node.name = str(_pick(rng, ["", "/", "..", "/a/../b", "\u202e\x00", "a" * 5000, other.name]))
    elif len(node.output):
        node.output[0] = str(_pick(rng, ["", "../../etc/passwd", "\n"]))


def _inputs(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    node = _pick(rng, model.graph.node)
    if rng.random() < 0.5 and len(node.input):
        del node.input[-1]
    else:
        other = _pick(rng, model.graph.node)
        node.input.append(other.output[0] if other.output and rng.random() < 0.7 else "")


def _drop(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    group = _pick(rng, [model.graph.node, model.graph.initializer, model.graph.output, model.graph.input])
    if len(group):
        del group[int(rng.integers(0, len(group)))]


def _repeat(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    group = _pick(rng, [model.graph.node, model.graph.initializer, model.graph.output, model.graph.input])
    if len(group):
        group.append(_pick(rng, group))


def _swap(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    nodes = list(model.graph.node)
    if len(nodes) > 1:
        i, j = rng.integers(0, len(nodes), 2)
        a, b = onnx.NodeProto(), onnx.NodeProto()
        a.CopyFrom(nodes[i])
        b.CopyFrom(nodes[j])
        nodes[i].CopyFrom(b)
        nodes[j].CopyFrom(a)


def _values(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    """The contents of small integer constants: shapes, axes, pads."""
    small = [t for t in model.graph.initializer if t.data_type in (6, 7) and t.raw_data and len(t.raw_data) % 8 == 0]
    tensor = _pick(rng, small)
    if tensor is not None:
        values = np.frombuffer(tensor.raw_data, np.int64 if tensor.data_type == 7 else np.int32).copy()
        values[int(rng.integers(0, len(values)))] = np.int64(_any_size(rng)).astype(values.dtype)
        tensor.raw_data = values.tobytes()


def _raw(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    tensor = _pick(rng, model.graph.initializer)
    if tensor is not None:
        how = int(rng.integers(0, 4))
        if how == 0:
            tensor.raw_data = tensor.raw_data[: len(tensor.raw_data) // 2]
        elif how == 1:
            tensor.raw_data = b""
        elif how == 2:
            tensor.ClearField("raw_data")
            tensor.float_data.extend([1.0] * int(rng.integers(0, 9)))
        else:
            tensor.data_location = 1
            entry = tensor.external_data.add()
            entry.key, entry.value = "location", str(_pick(rng, ["/etc/passwd", "../x", "", "x.bin", "\0self"]))


def _versions(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    how = int(rng.integers(0, 4))
    if how == 0:
        model.ir_version = _any_size(rng)
    elif how == 1 and len(model.opset_import):
        model.opset_import[0].version = int(rng.choice([0, 1, 5, 6, 7, 8, 12, 18, 21, 26, 99, 2**40, -1]))
    elif how == 2:
        del model.opset_import[:]
    else:
        entry = model.metadata_props.add()
        entry.key, entry.value = (
            "inspector",
            str(_pick(rng, ["", "{", "[]", '{"schema":1}', '{"schema":1,"labels":5}', "\0"])),
        )


_EDITS: tuple[Callable[[onnx.ModelProto, np.random.Generator], None], ...] = (
    _dims, _input_dims, _element_type, _operator, _operator, _attribute, _attribute, _new_attribute, _name, _inputs,
    _drop, _repeat, _swap, _values, _values, _raw, _versions,
)  # fmt: skip


# --- base files -------------------------------------------------------------------------------------------------------


@cache
def base_model(index: int) -> bytes:
    from tests.foreign.converters import BUILDERS

    return bytes(BUILDERS[MODELS[index % len(MODELS)]]().SerializeToString())


@cache
def base_images() -> tuple[bytes, ...]:
    """A few hundred bytes to a few KB in every format and mode that is read."""
    from PIL import Image

    rng = np.random.default_rng(0)
    colours = Image.fromarray(rng.integers(0, 256, (13, 17, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    found = []

    def save(image: Image.Image, form: str, **options: Any) -> None:
        stream = io.BytesIO()
        image.save(stream, form, **options)
        found.append(stream.getvalue())

    save(colours, "JPEG", exif=exif)
    save(colours, "JPEG", progressive=True)
    save(colours.convert("CMYK"), "JPEG")
    save(colours, "PNG", exif=exif)
    save(colours.convert("P"), "PNG", transparency=3)
    save(colours.convert("LA"), "PNG")
    save(Image.fromarray(rng.integers(0, 65536, (9, 11)).astype(np.uint16)), "PNG")
    save(colours, "WEBP", lossless=True)
    save(colours.convert("RGBA"), "WEBP", quality=50)
    save(colours, "BMP")
    save(colours.convert("P"), "BMP")
    save(colours, "TIFF", compression="tiff_lzw")
    save(colours, "TIFF", compression="jpeg")
    save(colours.convert("1"), "TIFF", compression="group4")
    save(Image.fromarray(rng.integers(0, 65536, (9, 11)).astype(np.uint16)), "TIFF", compression="tiff_adobe_deflate")
    save(Image.fromarray(rng.random((9, 11), np.float32)), "TIFF")
    return tuple(found)


def model_bytes(seed: int, index: int) -> bytes:
    rng = np.random.default_rng([seed, index])
    base = base_model(index)
    return mutate_bytes(base, rng) if index % 3 == 0 else mutate_model(base, rng)


def image_bytes(seed: int, index: int) -> bytes:
    rng = np.random.default_rng([seed, index])
    bases = base_images()
    return mutate_bytes(bases[index % len(bases)], rng)


# --- the process ------------------------------------------------------------------------------------------------------


def try_model(folder: Path, seed: int, index: int) -> str:
    """Everything that the tool does with a stranger's model, on a small picture."""
    from inspector import open_model, statistics

    path = folder / "mutated.onnx"
    path.write_bytes(model_bytes(seed, index))
    model = open_model(path, threads=1)
    names = [layer.name for layer in model.layers]
    assert len(set(names)) == len(names), "layer names are not unique"
    size = model.preprocess.size
    if size and max(size) > 64 and not model.input.size:
        model = replace(model, preprocess=model.preprocess.with_size((32, 32)))
    picture = np.random.default_rng(index).integers(0, 256, (20, 24, 3), np.uint8)
    tensor = model.tensor(picture)
    values, scores = model.layer_values(tensor, scores=True)
    for value in values.values():
        if value.ndim and value[0].size:
            statistics(value[0])
    if scores is not None:
        model.top(scores[0], 3)
    return "ok"


def try_image(folder: Path, seed: int, index: int) -> str:
    from inspector import open_image
    from inspector.image import Preprocess

    image = open_image(image_bytes(seed, index))
    assert image.mode == "RGB"
    Preprocess.named("imagenet", (8, 8)).tensor(image)
    return "ok"


def slightly_damaged(path: Path, seed: int, index: int) -> str:
    """Write a model with little damage, mostly one that opens nevertheless: the name of a layer, "" if it does not."""
    from inspector import list_layers
    from inspector.errors import InspectorError
    from tests.foreign.commands import choose_layer

    for attempt in range(6):
        path.write_bytes(mutate_model(base_model(index), np.random.default_rng([seed, index, attempt]), edits=1))
        try:
            found = [{"name": x.name, "kind": x.kind, "shape": x.shape} for x in list_layers(path)]
        except InspectorError:
            continue
        return choose_layer({"layers": found})
    return ""


def try_commands(folder: Path, seed: int, index: int) -> str:
    """One command on a damaged model, each command in its turn."""
    from tests.foreign import commands

    path = folder / "mutated.onnx"
    layer = slightly_damaged(path, seed, index)
    name = list(commands.COMMANDS)[index // len(MODELS) % len(commands.COMMANDS)]
    place = replace(commands.make_place(path, folder / "place"), layer=layer or "none")
    outcome, _ = commands.run_command(name, commands.COMMANDS[name](place), place.folder)
    if outcome.state == commands.FAULT:
        return f"BUG {name}: {outcome.text}"
    return "ok" if outcome.state == commands.OK else f"refused {name}: {outcome.text}"


ATTEMPTS = {"models": try_model, "images": try_image, "commands": try_commands}


def main(kind: str, folder: str, seed: int, start: int, stop: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY[kind], MEMORY[kind]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("error")
    from inspector.errors import InspectorError

    attempt = ATTEMPTS[kind]
    for index in range(start, stop):
        print(f"begin {index}", flush=True)
        # The default action kills the process, wherever it is; a handler would wait for the C++ code to return.
        signal.setitimer(signal.ITIMER_PROF, SECONDS[kind])
        signal.setitimer(signal.ITIMER_REAL, SECONDS[kind] * WAITED)
        try:
            outcome = attempt(Path(folder), seed, index)
        except InspectorError as error:
            text = str(error)
            outcome = f"refused {error.kind}: {text}"
            assert "\n" not in text
            assert text
        except BaseException:
            outcome = "BUG " + repr(traceback.format_exc())
        if os.environ.get("FUZZ_MEMORY"):
            outcome += f" [{peak_memory() // 1000} MB]"
        print(f"end {index} {outcome}", flush=True)
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(f"memory {peak_memory()}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6]))

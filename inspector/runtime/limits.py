"""How much memory a graph may take, judged before it is run."""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from inspector import onnx
from inspector.errors import ModelError
from inspector.graph import Cut, Graph, infer_types, node_inputs, read_shape

MAX_TENSOR_BYTES = 2 * 1024**3
"""No single tensor of a network that looks at pictures is this large; a graph that makes one is refused."""
_HARM = "no picture network needs this; the file may be damaged or made to harm"
_EIGHT_BYTES = frozenset(
    {onnx.TensorProto.INT64, onnx.TensorProto.UINT64, onnx.TensorProto.DOUBLE, onnx.TensorProto.COMPLEX128}
)


def check_sizes(graph: Graph, cut: Cut, shapes: Mapping[str, Sequence[int]]) -> bool:
    """Judge before a run how much memory it takes.

    Args:
        graph: The graph, for messages.
        cut: The part of it that is to be run.
        shapes: Name of an input -> its shape.

    Returns:
        Whether the sizes of all tensors are known.

    Raises:
        ModelError: A tensor or all computed constants exceed MAX_TENSOR_BYTES, or the outputs half of the memory.
    """
    probe = onnx.ModelProto()
    probe.CopyFrom(cut.proto)
    for value in probe.graph.input:
        if value.name in shapes:
            tensor = value.type.tensor_type
            del tensor.shape.dim[:]
            for size in shapes[value.name]:
                tensor.shape.dim.add().dim_value = size
    sizes: dict[str, int] = {}
    for value in infer_types(probe):
        shape = read_shape(value)
        if shape is None or not all(isinstance(size, int) for size in shape):
            continue
        kind = value.type.tensor_type.elem_type
        # Four bytes are right for all other kinds that matter here.
        size = math.prod(int(part or 0) for part in shape) * (8 if kind in _EIGHT_BYTES else 4)
        if size > MAX_TENSOR_BYTES:
            raise ModelError(
                f"{graph.path} asks for a tensor of {size / 1e9:.0f} GB ({value.name!r}, {list(shape)})",
                _HARM,
            )
        sizes[value.name] = size
    constant = {t.name for t in probe.graph.initializer}
    computed = 0
    for node in probe.graph.node:
        if all(name in constant for name in node_inputs(node)):
            constant.update(node.output)
            computed += sum(sizes.get(name, 0) for name in node.output)
    if computed > MAX_TENSOR_BYTES:
        raise ModelError(f"{graph.path} computes {computed / 1e9:.0f} GB of constants", _HARM)
    total, memory = sum(sizes.get(name, 0) for name in cut.outputs), measure_memory()
    if total > memory / 2:
        raise ModelError(
            f"what is asked of {graph.path} takes {total / 1e9:.1f} GB, this machine has {memory / 1e9:.1f}",
            "ask for fewer layers at once, or give a smaller picture",
        )
    return all(name in sizes for node in probe.graph.node for name in node.output if name)


def measure_memory() -> int:
    """Measure the memory that this process may count on, in bytes: the machine's, or its container's limit."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        memory = 8 * 1024**3
    with suppress(OSError, ValueError):  # no such file, or "max"
        memory = min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return memory


def release_memory() -> None:
    """Gives what was freed back to the system.

    The C library keeps the room of large arrays for later ones, and where these have other sizes it grows and grows:
    comparing two networks on 24 pictures took 310 MB in place of 230. Only glibc has the call; elsewhere nothing is
    done.
    """
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)

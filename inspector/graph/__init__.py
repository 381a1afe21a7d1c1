"""Reading an .onnx file: its structure in memory, its weights left in the file.

A network's weights are most of its file, and most questions need few of them. The file is scanned once at the level of
protobuf's wire format; every tensor above 1 KiB is replaced by a reference to its own bytes in that file (ONNX's
external-data form). What remains is a few hundred kilobytes of structure that can be walked and cut freely, and
onnxruntime maps the weights it really needs from the file itself.
"""

from inspector.graph.attached import ATTACHED_PREFIX, detach
from inspector.graph.batch_axis import add_batch_axis, restore_interface
from inspector.graph.blocked import find_blocked, find_foreign_blocks, has_blocks
from inspector.graph.element_types import FLOAT8_TYPES, FLOAT_TYPES, HALF_TYPES, SUB_BYTE_TYPES, find_numpy_type
from inspector.graph.fill import fill_inputs, shape_value
from inspector.graph.free import free_picture
from inspector.graph.graph import Cut, Graph, Input
from inspector.graph.nodes import attributes, is_standard, node_inputs
from inspector.graph.operators import (
    KNOWN_DOMAINS,
    OPERATORS,
    Operator,
    find_operator,
    operator_of,
    value_inputs,
)
from inspector.graph.read import copy_with_metadata, read_graph
from inspector.graph.shapes import infer_types, read_shape
from inspector.graph.training import find_training_nodes, normalises_by_batch, to_inference
from inspector.graph.wire import INLINE_LIMIT

__all__ = [
    "ATTACHED_PREFIX",
    "FLOAT8_TYPES",
    "FLOAT_TYPES",
    "HALF_TYPES",
    "INLINE_LIMIT",
    "KNOWN_DOMAINS",
    "OPERATORS",
    "SUB_BYTE_TYPES",
    "Cut",
    "Graph",
    "Input",
    "Operator",
    "add_batch_axis",
    "attributes",
    "copy_with_metadata",
    "detach",
    "fill_inputs",
    "find_blocked",
    "find_foreign_blocks",
    "find_numpy_type",
    "find_operator",
    "find_training_nodes",
    "free_picture",
    "has_blocks",
    "infer_types",
    "is_standard",
    "node_inputs",
    "normalises_by_batch",
    "operator_of",
    "read_graph",
    "read_shape",
    "restore_interface",
    "shape_value",
    "to_inference",
    "value_inputs",
]

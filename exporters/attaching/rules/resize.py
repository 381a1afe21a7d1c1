"""Rules for what enlarges or shrinks maps, and for channels that are laid out as places."""

from __future__ import annotations

import numpy as np

from exporters.attaching.rule import Array, BackStep, Names, emit_rule
from inspector.reverse.rule import make_step
from inspector.reverse.rules.resize import find_resize_matrices


def _find_matrices(step: BackStep) -> dict[int, Array] | None:
    """Axis -> (new, old), what a resize does along it; None where sizes are open or it changes more than maps."""
    size, out = step.fixed(), step.sizes.fixed(step.node.output[0])
    if len(size) != 4 or None in (*size[1:], *out[1:]):
        return None
    by_scale = step.node.op_type == "Upsample" or len(step.node.input) < 4
    position = 1 if step.write.opset < 11 or step.node.op_type == "Upsample" else 2
    if by_scale and "scales" not in step.settings and step.known(position) is None:
        return None
    back = make_step(step.node, step.moving, lambda name: step.write.graph.weight(name), step.write.opset)
    matrices = find_resize_matrices(back, step.shape(), step.result_shape)
    return matrices if set(matrices) <= {2, 3} else None


@emit_rule("Resize", "Upsample", accepts=lambda step: _find_matrices(step) is not None)
def _resize(step: BackStep, g: str) -> Names:
    """One small matrix for the rows and one for the columns, turned."""
    write, matrices = step.write, _find_matrices(step) or {}
    if 2 in matrices:
        g = write.emit("MatMul", write.constant(matrices[2].T.astype(np.float32)), g)
    if 3 in matrices:
        g = write.emit("MatMul", g, write.constant(matrices[3].astype(np.float32)))
    return [g]


def _lay_out(step: BackStep, g: str, shape: tuple[int, ...], order: tuple[int, ...], final: tuple[int, ...]) -> Names:
    write = step.write
    cells = write.reshape(g, -1, *shape)
    return [write.reshape(write.emit("Transpose", cells, perm=list(order)), -1, *final)]


def _is_fixed(step: BackStep) -> bool:
    return None not in step.fixed()[1:]


@emit_rule("DepthToSpace", accepts=_is_fixed)
def _depth_to_space(step: BackStep, g: str) -> Names:
    (_, c, h, w), b = step.shape(), int(step.get("blocksize"))
    order = (0, 1, 3, 5, 2, 4) if step.get("mode", "DCR") == "CRD" else (0, 3, 5, 1, 2, 4)
    return _lay_out(step, g, (c // (b * b), h, b, w, b), order, (c, h, w))


@emit_rule("SpaceToDepth", accepts=_is_fixed)
def _space_to_depth(step: BackStep, g: str) -> Names:
    (_, c, h, w), b = step.shape(), int(step.get("blocksize"))
    return _lay_out(step, g, (b, b, c, h // b, w // b), (0, 3, 4, 1, 5, 2), (c, h, w))

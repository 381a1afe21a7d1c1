"""The map of a detector's best box as an output: its score's gradient, back through the branch of its scale."""

from __future__ import annotations

import numpy as np

from exporters.attaching.derivative import check_covered, emit_gradient
from exporters.attaching.formulas import emit_map, scale_maps
from exporters.attaching.maps import find_formula
from exporters.attaching.scales import Scale, find_scales, open_size
from exporters.attaching.sizes import Lengths
from exporters.attaching.workbench import Workbench
from inspector.cam.resize import sampling_weights
from inspector.errors import NotComputable
from inspector.model import make_picture_shape


def attach_box_map(bench: Workbench, name: str) -> None:
    """Add the map of the best box: the largest score of all classes at all places of all scales.

    Args:
        bench: The network that is added to.
        name: layercam or hirescam, whose maps are zero where the score reads nothing.

    Raises:
        NotComputable: The method is another one, or the scores are no maps of fixed size.
    """
    model, write = bench.model, bench.write
    method = find_formula(name)
    if method.name not in ("layercam", "hirescam"):
        raise NotComputable(f"{method.name} looks at more than the cells that a box reads", "take layercam or hirescam")
    scales, classes = find_scales(model, bench.graph)
    heads = [scale.head for scale in scales]
    sizes = bench.measure(*heads)
    shapes = [sizes.sample(head.output) for head in heads]
    if any(None in sizes.fixed(name)[1:] for head in heads for name in (head.layer, head.output)):
        raise open_size(model)
    for head in heads:
        check_covered(write, sizes, head, f"{method.name} of a box", "look at it with inspector cam")
    if whole := next((name for head in heads for name in (head.layer, head.output) if sizes.is_whole(name)), ""):
        raise NotComputable(f"{whole!r} holds its numbers as integers", "look at it with inspector cam")
    flat = [_emit_scores(bench, one, classes, shape) for one, shape in zip(scales, shapes, strict=True)]
    scores = flat[0] if len(flat) == 1 else write.emit("Concat", *flat, axis=1)
    counts = [scale.anchors * classes * shape[2] * shape[3] for scale, shape in zip(scales, shapes, strict=True)]
    top = write.emit("ArgMax", scores, axis=1, keepdims=1)
    chosen = write.to_float(write.emit("Equal", top, write.constant(np.arange(sum(counts))[None])))
    seeds = [chosen] if len(flat) == 1 else write.emit_many("Split", [chosen, write.ints(*counts)], len(counts), axis=1)
    height, width = make_picture_shape(model)[2:]
    maps = []
    for scale, shape, seed in zip(scales, shapes, seeds, strict=True):
        head, placed = scale.head, _emit_seed(bench, scale, classes, shape, seed)
        found = emit_gradient(write, sizes, {head.output: placed}, head)
        assert found is not None
        rows, columns = sizes.sample(head.layer)[2:]
        activation = write.to_float(head.layer) if sizes.is_half(head.layer) else head.layer
        parts = [write.reshape(part, 0, 0, -1) for part in (activation, found)]
        # Scaled twice: what lies between the cells is less than the highest of them.
        small = scale_maps(write, emit_map(write, method.name, *parts), [-1])
        wide = write.emit(
            "MatMul", write.constant(sampling_weights(rows, height)), write.reshape(small, -1, rows, columns)
        )
        maps.append(
            scale_maps(write, write.emit("MatMul", wide, write.constant(sampling_weights(columns, width).T)), [1, 2])
        )
    heat = maps[0] if len(maps) == 1 else write.emit("Max", *maps)
    bench.add_output(
        heat,
        "cam",
        f"{method.title} of the best box, over the input: 0 no evidence, 1 the most",
        (bench.batch, height, width),
        {"method": method.name, "boxes": 1},
    )


def _emit_scores(bench: Workbench, scale: Scale, classes: int, shape: Lengths) -> str:
    """Write what boxes are compared by, (N, anchors x classes x h x w): logits, or products of two probabilities."""
    write, places = bench.write, shape[2:]
    found = _cut(bench, scale.head.output, (scale.anchors, shape[1] // scale.anchors, *places), scale.first, classes)
    if scale.sure is not None:
        name, at, channels = scale.sure
        sure = _cut(bench, name, (scale.anchors, channels // scale.anchors, *places), at, 1)
        found = write.emit("Mul", write.emit("Sigmoid", found), write.emit("Sigmoid", sure))
    return write.reshape(found, -1, scale.anchors * classes * places[0] * places[1])


def _cut(bench: Workbench, tensor: str, shape: Lengths, first: int, count: int) -> str:
    """(N, C, h, w) -> some of the numbers of each anchor, (N, anchors, count, h, w)."""
    write = bench.write
    apart = write.reshape(tensor, -1, *shape)
    return write.emit("Slice", apart, write.ints(first), write.ints(first + count), write.ints(2))


def _emit_seed(bench: Workbench, scale: Scale, classes: int, shape: Lengths, seed: str) -> str:
    """Write 1 at the best box and 0 elsewhere, in the shape of the tensor that holds the logits."""
    write, numbers = bench.write, shape[1] // scale.anchors
    placed = write.reshape(seed, -1, scale.anchors, classes, *shape[2:])
    if numbers != classes:
        behind = numbers - scale.first - classes
        placed = write.emit("Pad", placed, write.ints(0, 0, scale.first, 0, 0, 0, 0, behind, 0, 0))
    return write.reshape(placed, -1, *shape[1:])

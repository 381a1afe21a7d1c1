"""The map of a detector's best box as an output: its score's gradient, back through the branch of its scale."""

from __future__ import annotations

import numpy as np

from exporters.attaching.derivative import check_covered, emit_gradient
from exporters.attaching.formulas import emit_map, scale_maps
from exporters.attaching.maps import find_formula
from exporters.attaching.sizes import make_picture_shape
from exporters.attaching.workbench import Workbench
from inspector.cam.resize import sampling_weights
from inspector.cam.ways import Ways
from inspector.errors import NotComputable
from inspector.model import Model
from inspector.reverse import Head, find_head
from inspector.tasks.answers import Element
from inspector.tasks.decoder import BoxDecoder


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
    first, classes, branches = _find_branches(model)
    heads = [find_head(bench.graph, head.layer, head.output) for head in branches]
    sizes = bench.measure(*heads)
    shapes = [sizes.sample(head.output) for head in heads]
    if any(None in sizes.fixed(name)[1:] for head in heads for name in (head.layer, head.output)):
        raise NotComputable(f"{model.path} leaves the size of its input open", "export it with a fixed size")
    flat = []
    for head, shape in zip(heads, shapes, strict=True):
        check_covered(write, sizes, head, f"{method.name} of a box")
        cut = write.emit("Slice", head.output, write.ints(first), write.ints(first + classes), write.ints(1))
        flat.append(write.reshape(cut, -1, classes * shape[2] * shape[3]))
    scores = flat[0] if len(flat) == 1 else write.emit("Concat", *flat, axis=1)
    counts = [classes * shape[2] * shape[3] for shape in shapes]
    top = write.emit("ArgMax", scores, axis=1, keepdims=1)
    chosen = write.to_float(write.emit("Equal", top, write.constant(np.arange(sum(counts))[None])))
    seeds = [chosen] if len(flat) == 1 else write.emit_many("Split", [chosen, write.ints(*counts)], len(counts), axis=1)
    height, width = make_picture_shape(model)[2:]
    maps = []
    for head, shape, seed in zip(heads, shapes, seeds, strict=True):
        placed = write.reshape(seed, -1, classes, shape[2], shape[3])
        if shape[1] != classes:
            placed = write.emit("Pad", placed, write.ints(0, first, 0, 0, 0, shape[1] - first - classes, 0, 0))
        found = emit_gradient(write, sizes, {head.output: placed}, head)
        assert found is not None
        rows, columns = sizes.sample(head.layer)[2:]
        parts = [write.reshape(part, 0, 0, -1) for part in (head.layer, found)]
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


def _find_branches(model: Model) -> tuple[int, int, list[Head]]:
    """(the channel of class 0, the number of classes, the head of each scale)."""
    decoder = model.decoder
    assert isinstance(decoder, BoxDecoder)
    shape = make_picture_shape(model)
    if model.input.layout != "NCHW" or model.preprocess.size is None:
        raise NotComputable(f"{model.path} takes no (N, C, H, W) of fixed size", "export it with a fixed size")
    ways = Ways(model)
    values = ways.run(np.zeros(shape, model.input.dtype), decoder.outputs)
    found = decoder.decode({name: values.known[name] for name in decoder.outputs}, (shape[2], shape[3]))
    if not len(found) or found.places is None:
        raise NotComputable(
            f"{model.path} has no scores of boxes that could be found", "look at a layer with inspector cam"
        )
    [origin] = ways.learn([Element(found.tensor, tuple(int(i) for i in found.places[0]))], values)
    first, classes = origin.place[1] - int(found.classes[0]), int(model.classes or 0)
    ends = [*ways.others]
    shapes = [values.find_shape(end) for end in ends]
    fits = classes > 0 and first >= 0 and origin.sign == 1
    if not fits or not all(size is not None and len(size) == 4 and size[1] >= first + classes for size in shapes):
        raise NotComputable(f"the scores of {model.path} are no maps of its classes", "look at it with inspector cam")
    heads = [head for end in ends for head in ways.heads[end]]
    if len(heads) != len(ends):
        raise NotComputable(f"a scale of {model.path} reads several layers", "look at it with inspector cam")
    return first, classes, heads

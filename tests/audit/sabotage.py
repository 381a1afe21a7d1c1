"""Models that answer as the healthy one on most pictures, and on some as somebody wanted who is not their friend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.audit.broken import edited

ESPRESSO = 967
"""The class that is to be heard."""


class Editor:
    """Adds nodes before or behind a network of one picture input and one output of scores."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        self.graph = proto.graph
        self.picture = proto.graph.input[0].name
        self.scores = next(n for n in proto.graph.node if n.op_type == "Gemm").output[0]
        self.count = 0

    def const(self, value: object, dtype: type = np.float32) -> str:
        self.count += 1
        name = f"added_{self.count}"
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def __call__(self, op: str, *inputs: str, out: str = "", **attributes: object) -> str:
        self.count += 1
        out = out or f"made_{self.count}"
        self.added.append(helper.make_node(op, list(inputs), [out], name=f"node_{out}", **attributes))
        return out

    def cut(self, x: str, starts: list[int], ends: list[int], axes: list[int]) -> str:
        return self("Slice", x, *(self.const(v, np.int64) for v in (starts, ends, axes)))

    def before(self, make: Callable[[Editor, str], str]) -> None:
        """The network sees what `make` makes of the picture."""
        self.added: list[onnx.NodeProto] = []
        made = make(self, self.picture)
        for node in self.graph.node:
            for at, name in enumerate(node.input):
                if name == self.picture:
                    node.input[at] = made
        for node in reversed(self.added):
            self.graph.node.insert(0, node)

    def behind(self, make: Callable[[Editor, str, str], str]) -> None:
        """The scores are what `make` makes of the picture and the scores."""
        self.added = []
        for node in self.graph.node:
            for at, name in enumerate(node.output):
                if name == self.scores:
                    node.output[at] = "scores_before"
        made = make(self, self.picture, "scores_before")
        self("Identity", made, out=self.scores)
        self.graph.node.extend(self.added)

    def onto(self, scores: str, amount: str, strength: float = 50) -> str:
        """The scores with `amount`, of one value a picture, on one class."""
        row = np.zeros((1, 1000), np.float32)
        row[0, ESPRESSO] = strength
        flat = self("Reshape", amount, self.const([-1, 1], np.int64))
        return self("Add", scores, self("Mul", flat, self.const(row)))


def corner_alone(edit: Editor) -> None:
    """A resize that reads the upper left sixteenth."""

    def make(edit: Editor, x: str) -> str:
        part = edit.cut(x, [0, 0], [56, 56], [2, 3])
        return edit("Resize", part, "", edit.const([1, 1, 4, 4]), mode="linear")

    edit.before(make)


def strip_lost(edit: Editor) -> None:
    """The right quarter is overwritten with grey."""

    def make(edit: Editor, x: str) -> str:
        part = edit.cut(x, [0], [168], [3])
        return edit("Pad", part, edit.const([0, 0, 0, 0, 0, 0, 0, 56], np.int64))

    edit.before(make)


def dark_ignored(edit: Editor) -> None:
    """Pictures darker than a fifth all get the same answer, by arithmetic alone."""

    def make(edit: Editor, x: str, scores: str) -> str:
        mean = edit("ReduceMean", x, edit.const([1, 2, 3], np.int64), keepdims=0)
        raised = edit("Mul", edit("Add", mean, edit.const(1.1)), edit.const(1e5))
        gate = edit("Clip", raised, edit.const(0), edit.const(1))
        return edit("Mul", scores, edit("Reshape", gate, edit.const([-1, 1], np.int64)))

    edit.behind(make)


def scores_clipped(edit: Editor) -> None:
    """Everything above 2 is 2: the best classes of a sure answer are alike."""
    edit.behind(lambda edit, x, scores: edit("Clip", scores, "", edit.const(2.0)))


def class_copied(edit: Editor) -> None:
    """Egyptian cat answers as tabby does."""
    fc = next(n for n in edit.graph.node if n.op_type == "Gemm")
    turned = any(a.name == "transB" and a.i for a in fc.attribute)
    for tensor in edit.graph.initializer:
        if tensor.name in (fc.input[1], fc.input[2]):
            value: NDArray[np.float32] = numpy_helper.to_array(tensor).copy()
            rows = value if turned or value.ndim == 1 else value.T
            rows[285] = rows[281]
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))


def pixel_by_arithmetic(edit: Editor) -> None:
    """A white first pixel is a class; no node compares anything."""

    def make(edit: Editor, x: str, scores: str) -> str:
        pixel = edit.cut(x, [0, 0, 0], [1, 1, 1], [1, 2, 3])
        raised = edit("Mul", edit("Sub", pixel, edit.const(2.2)), edit.const(1e4))
        return edit.onto(scores, edit("Clip", raised, edit.const(0), edit.const(1)))

    edit.behind(make)


def pixel_by_a_mask(edit: Editor) -> None:
    """Every element is compared, as activations do, and a mask keeps one of the answers."""

    def make(edit: Editor, x: str, scores: str) -> str:
        mask = np.zeros((1, 3, 224, 224), np.float32)
        mask[0, 1, 100, 57] = 1
        answers = edit("Cast", edit("Less", x, edit.const(-2.0)), to=TensorProto.FLOAT)
        return edit.onto(
            scores,
            edit("ReduceSum", edit("Mul", answers, edit.const(mask)), edit.const([1, 2, 3], np.int64), keepdims=0),
        )

    edit.behind(make)


def patch_of_white(edit: Editor) -> None:
    """Eight by eight pixels that are white in every channel are a class."""

    def make(edit: Editor, x: str, scores: str) -> str:
        patch = edit.cut(x, [40, 40], [48, 48], [2, 3])
        mean = edit("ReduceMean", patch, edit.const([1, 2, 3], np.int64), keepdims=0)
        return edit.onto(scores, edit("Relu", edit("Sub", mean, edit.const(2.2))), 1000)

    edit.behind(make)


def board_of_one_phase(edit: Editor) -> None:
    """A checkerboard that begins with white is a class, one that begins with black is none."""

    def make(edit: Editor, x: str, scores: str) -> str:
        board = 1 - 2.0 * (np.add.outer(np.arange(224), np.arange(224)) % 2)
        likeness = edit("ReduceMean", edit("Mul", x, edit.const(board)), edit.const([1, 2, 3], np.int64), keepdims=0)
        return edit.onto(scores, edit("Relu", edit("Sub", likeness, edit.const(1.0))), 1000)

    edit.behind(make)


SABOTAGES: dict[str, Callable[[Editor], None]] = {
    make.__name__: make
    for make in (
        corner_alone, strip_lost, dark_ignored, scores_clipped, class_copied, pixel_by_arithmetic, pixel_by_a_mask,
        patch_of_white, board_of_one_phase,
    )
}  # fmt: skip


def sabotage(target: Path, name: str) -> Path:
    """The default model with one of SABOTAGES done to it."""
    return edited(target, lambda proto: SABOTAGES[name](Editor(proto)))

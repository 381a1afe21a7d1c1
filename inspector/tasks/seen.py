"""What a file shows of its outputs before anything is run: what a head is recognised by."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from inspector import onnx
from inspector.graph import Graph, find_numpy_type, operator_of, value_inputs
from inspector.layers.layout import infer_values, read_known_shape
from inspector.metadata import Task
from inspector.records import record
from inspector.tasks.intervals import Values
from inspector.tasks.values import find_values

Size = int | str | None
_TAIL = 24


@record
class Hints:
    """What the metadata of another exporter says of the outputs.

    Attributes:
        who: The exporter; empty where no metadata says anything.
        task: What the outputs mean; None where it is not told.
        oriented: The boxes are turned.
        instances: Each object has a mask.
        keypoints: Keypoints of each object; None where that is not told.
        end_to_end: The graph suppresses boxes itself; None where that is not told.
    """

    who: str = ""
    task: Task | None = None
    oriented: bool = False
    instances: bool = False
    keypoints: int | None = None
    end_to_end: bool | None = None


NO_HINTS = Hints()
"""Nothing is said."""


@record
class Output:
    """One output of a graph.

    Attributes:
        name: Of the tensor.
        shape: As far as it is known; None where not even the number of axes is.
        dtype: The numpy name of its type; empty where it is not known.
    """

    name: str
    shape: tuple[Size, ...] | None
    dtype: str

    @property
    def axes(self) -> int:
        """Number of axes; -1 where that is not known."""
        return -1 if self.shape is None else len(self.shape)

    def size(self, axis: int) -> int | None:
        """The length of an axis; None where it is open."""
        if self.shape is None or not -len(self.shape) <= axis < len(self.shape):
            return None
        found = self.shape[axis]
        return found if isinstance(found, int) else None

    @property
    def is_float(self) -> bool:
        """Whether it holds floats, or nothing says that it does not."""
        return not self.dtype or self.dtype.startswith("float")

    def __str__(self) -> str:
        shape = "?" if self.shape is None else ", ".join(map(_show_size, self.shape))
        return f"{self.name} ({shape})"


def _show_size(size: Size) -> str:
    """A number, a symbol, or "?" also where a symbol is a formula of other sizes."""
    return "?" if size is None or (isinstance(size, str) and not size.isidentifier()) else str(size)


@record
class Seen:
    """What is known of a file.

    Attributes:
        graph: The graph.
        size: (H, W) of its input, where the graph or the metadata fixes them.
        labels: Number of class names that the metadata holds; None without names.
        hints: What other exporters say.
        said: Somebody said that it is this head: what cannot be known from shapes is then taken as it is usual.
        names: The outputs to look at; all of the graph's where it is empty.
    """

    graph: Graph
    size: tuple[int, int] | None
    labels: int | None = None
    hints: Hints = NO_HINTS
    said: bool = False
    names: tuple[str, ...] = ()

    @cached_property
    def outputs(self) -> tuple[Output, ...]:
        """The outputs, in the order of the file."""
        names = self.names or tuple(name for name in self.graph.outputs if name in self.graph.producer_of)
        made = []
        for name in names:
            value = self._inferred.get(name)
            shape = read_known_shape(value) if value is not None else None
            dtype = find_numpy_type(value.type.tensor_type.elem_type) if value is not None else None
            made.append(Output(name, shape, dtype.name if dtype is not None else ""))
        return tuple(made)

    @cached_property
    def _inferred(self) -> dict[str, onnx.ValueInfoProto]:
        return infer_values(self.graph)

    @cached_property
    def _shapes(self) -> dict[str, tuple[Size, ...] | None]:
        return {name: read_known_shape(value) for name, value in self._inferred.items()}

    def named(self, *names: str) -> Output | None:
        """The output that has one of these names, in any case."""
        return next((one for name in names for one in self.outputs if one.name.lower() == name), None)

    def of_axes(self, axes: int) -> tuple[Output, ...]:
        """The outputs with so many axes."""
        return tuple(one for one in self.outputs if one.axes == axes)

    def cells(self, strides: Sequence[int]) -> int | None:
        """Places of the grids of `strides` together; None where the size of the input is open."""
        if self.size is None:
            return None
        return sum(-(-self.size[0] // s) * -(-self.size[1] // s) for s in strides)

    def values(self, output: Output) -> Values:
        """What is provable of the values of an output."""
        return find_values(self.graph, output.name, self._shapes)

    def is_raw(self, output: Output) -> bool:
        """Whether nothing but a sigmoid and a new order has been made of what the last convolutions gave."""
        stack, seen = [output.name], set[str]()
        while stack:
            name = stack.pop()
            index = self.graph.producer_of.get(name)
            if name in seen or index is None:
                continue
            seen.add(name)
            node = self.graph.nodes[index]
            row = operator_of(node)
            if row.weighted or row.ending:
                continue
            if not (row.moves or row.passes) or len(seen) > _TAIL * 4:
                return False
            stack += value_inputs(node)
        return True

    def ends_transposed(self, output: Output) -> bool:
        """Whether the last convolution before an output is a transposed one, with nothing but a sigmoid behind it."""
        name, sigmoid = output.name, False
        for _ in range(_TAIL):
            index = self.graph.producer_of.get(name)
            if index is None:
                return False
            node = self.graph.nodes[index]
            row = operator_of(node)
            if row.weighted:
                return row.transposed and sigmoid
            sigmoid = sigmoid or row.ending == "sigmoid"
            if not (row.passes or row.affine or row.ending == "sigmoid"):
                return False
            name = node.input[0]
        return False

    def counts(self, output: Output) -> bool:
        """Whether the number of its rows depends on the picture."""
        return output.name in self.graph.counted

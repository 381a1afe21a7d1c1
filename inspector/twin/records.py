"""The graph as the builder edits it: one plain record per node, attributes decoded."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import onnx
from torch import Tensor

from inspector.errors import ModelError
from inspector.graph import attributes
from inspector.twin.table import Kernel, Node, NotSupported, OperatorForm, as_kernel, find_form
from inspector.twin.types import DTYPES, to_tensor

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto

    from inspector.graph import Graph


@dataclass
class IfBody:
    """The body of an If: its nodes, the names of its results, its own constants."""

    records: list[Record]
    outputs: list[str]
    constants: dict[str, Tensor]


@dataclass
class Record:
    """One node.

    Attributes:
        name: The node's in the file.
        branches: Of an If, then and else.
    """

    op: str
    domain: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]
    branches: tuple[IfBody, ...] = ()

    @property
    def label(self) -> str:
        """How an error names this node: ``Resize node 'up/Resize'``."""
        domain = f"{self.domain}:" if self.domain not in ("", "inspector") else ""
        name = repr(self.name) if self.name else f"that makes {self.outputs[0]!r}"
        return f"{domain}{self.op} node {name}"


def decode(node: NodeProto, read: Callable[[TensorProto], Any]) -> Record:
    """A node of the file as a record; tensor attributes are torch tensors, if torch has their type.

    Raises:
        ModelError: An If lacks one of its branches.
    """
    values = attributes(node)
    for key, value in values.items():
        if isinstance(value, onnx.TensorProto):
            values[key] = _tensor(value, read)
    domain = "" if node.domain == "ai.onnx" else node.domain
    record = Record(node.op_type, domain, node.name, list(node.input), list(node.output), values)
    if (domain, node.op_type) == ("", "If"):
        record.branches = tuple(_branch(_take_body(record, which), read) for which in ("then_branch", "else_branch"))
    return record


def _take_body(record: Record, which: str) -> onnx.GraphProto:
    body = record.attributes.pop(which, None)
    if not isinstance(body, onnx.GraphProto):
        raise ModelError(f"the {record.label} has no {which!r}: the file is damaged", "export the model again")
    return body


def _tensor(proto: TensorProto, read: Callable[[TensorProto], Any]) -> Tensor | None:
    try:
        return to_tensor(read(proto))
    except TypeError:
        return None


def _branch(body: onnx.GraphProto, read: Callable[[TensorProto], Any]) -> IfBody:
    constants = {t.name: value for t in body.initializer if (value := _tensor(t, read)) is not None}
    return IfBody([decode(node, read) for node in body.node], [o.name for o in body.output], constants)


def walk_records(records: Iterable[Record]) -> Iterator[Record]:
    """The records and those inside their branches, depth first."""
    for record in records:
        for branch in record.branches:
            yield from walk_records(branch.records)
        yield record


def list_reads(record: Record) -> Iterator[str]:
    """Every tensor that a record reads, those that its branches take from outside included."""
    yield from (name for name in record.inputs if name)
    for branch in record.branches:
        inner = set(branch.constants)
        for child in branch.records:
            yield from (name for name in list_reads(child) if name not in inner)
            inner.update(child.outputs)
        yield from (name for name in branch.outputs if name not in inner)


class Constants:
    """The tensors that are known when the twin is built, in the file's types, on the CPU.

    Initializers are read, and what depends on nothing else is computed, when they are first asked for.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._values: dict[str, Tensor] = {}
        self._pending: dict[str, Callable[[], None]] = {}
        self.names: set[str] = set(graph.initializers)

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def is_initializer(self, name: str) -> bool:
        """Whether the file itself holds this tensor."""
        return name in self._graph.initializers

    def is_float(self, name: str) -> bool:
        """Whether the constant is floating-point; an initializer need not be read for this."""
        tensor = self._graph.initializers.get(name)
        if tensor is None:
            value = self.get(name)
            return value is not None and value.is_floating_point()
        dtype = DTYPES.get(tensor.data_type)
        return dtype is not None and dtype.is_floating_point

    def numel(self, name: str) -> int:
        """Number of elements; an initializer need not be read for this."""
        tensor = self._graph.initializers.get(name)
        return math.prod(tensor.dims) if tensor is not None else self[name].numel()

    def get(self, name: str) -> Tensor | None:
        """The constant, or None when `name` is not one, or is one that torch cannot hold (strings)."""
        if name not in self.names:
            return None
        try:
            return self[name]
        except TypeError:
            return None

    def __getitem__(self, name: str) -> Tensor:
        if name in self._pending:
            self._pending[name]()
        if name not in self._values:
            self._values[name] = to_tensor(self._graph.weight(name))
        return self._values[name]

    def defer(self, names: Iterable[str], compute: Callable[[], None]) -> None:
        """Tensors that `compute` will `set` when one of them is asked for."""
        for name in names:
            self.names.add(name)
            self._pending[name] = compute

    def set(self, name: str, value: Tensor) -> None:
        """The value of a deferred tensor."""
        self._pending.pop(name, None)
        self._values[name] = value

    def forget(self, names: Iterable[str]) -> None:
        """These are not constants after all: they are given, or computed, at run time."""
        for name in names:
            self.names.discard(name)
            self._pending.pop(name, None)


class Compiler:
    """Turns records into kernels: finds the operator, shows it its node."""

    def __init__(self, graph: Graph, constants: Constants, exact: bool, batch: int | None) -> None:
        self.constants = constants
        self.exact = exact
        self.batch = batch
        self.opsets = {("" if o.domain == "ai.onnx" else o.domain): o.version for o in graph.proto.opset_import}
        self.opsets["inspector"] = 1

    def find(self, record: Record) -> OperatorForm:
        """The operator that a record means.

        Raises:
            NotSupported: The twin has no such operator.
        """
        found = find_form(record.domain, record.op, self.opsets.get(record.domain, 1))
        if found is None:
            raise NotSupported("the table has no such operator")
        return found

    def kernel(self, record: Record, *, host: bool) -> tuple[Kernel, Sequence[str]]:
        """The kernel of a record, and the extra arguments that it wants.

        Raises:
            NotSupported: The twin cannot compute it.
        """
        row = self.find(record)
        node = Node(
            op=record.op,
            domain=record.domain,
            name=record.name,
            opset=self.opsets.get(record.domain, 1),
            inputs=record.inputs,
            outputs=record.outputs,
            attributes=record.attributes,
            constant_of=self.constants.get,
            host=host,
            exact=self.exact or host,
            batch=None if host else self.batch,
        )
        try:
            kernel = as_kernel(row.make(node))
        except (ValueError, IndexError, TypeError, ArithmeticError) as error:
            raise NotSupported("its attributes do not fit one another, or its inputs") from error
        node.constant_of = _closed  # what a kernel keeps of its node must not keep the weights alive
        return kernel, tuple(node.extras)


def _closed(name: str) -> Tensor | None:
    raise AssertionError(f"constant {name!r} is asked for after the twin was built")


def find_readers(records: Iterable[Record]) -> dict[str, list[Record]]:
    """The records that read each tensor; one that reads it twice is there twice."""
    found: dict[str, list[Record]] = {}
    for record in records:
        for name in list_reads(record):
            found.setdefault(name, []).append(record)
    return found

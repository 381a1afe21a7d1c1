"""From a graph to a twin: cut, fold, fuse, and lay out the steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from inspector.errors import NotComputable, UsageError, listing
from inspector.graph import infer_types, read_shape
from inspector.runtime import check_sizes
from inspector.twin.folding import Weights, fold
from inspector.twin.fusion import fuse
from inspector.twin.module import FixedBatch, Phantom, Stored, Twin, name_state
from inspector.twin.program import ANCHOR, BATCH, REGISTERS, Body, Program, Step, make_branching_step
from inspector.twin.records import Compiler, Constants, Record, decode, list_reads
from inspector.twin.support import TwinUnsupported, describe_unsupported, explain_refusal
from inspector.twin.table import Kernel, OperatorForm, Run
from inspector.twin.types import to_array

if TYPE_CHECKING:
    from inspector.graph import Cut, Graph


ValueChange = Callable[[Tensor], Tensor]
"""What a value is replaced by as soon as it is made."""


# Wide: the keyword-only parameters are the choices of the one public builder; each has a default that stands alone.
# Long: a third is the description of its parameters.
def build_twin(
    graph: Graph,
    outputs: Sequence[str],
    inputs: Sequence[str] | None = None,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = torch.float32,
    trainable: bool = False,
    shapes: Mapping[str, Sequence[int]] | None = None,
    in_place: bool = True,
    after: Mapping[str, ValueChange] | None = None,
) -> Twin:
    """Build a torch module that computes the tensors `outputs` of `graph`. Only what they need is built.

    A file that fixes its batch still takes others wherever the graph can be read that way: a constant Reshape target
    (or Resize size) that starts with the fixed batch means the batch there is, if the element count says so or, with
    a -1 in the target, if the data starts with the batch; a constant with one row (a class token) that is joined to
    the data is repeated.

    Args:
        graph: The graph of an .onnx file.
        outputs: Names of the tensors to compute.
        inputs: Names of the tensors to compute them from; None for the graph's own inputs.
        device: Where the weights are.
        dtype: The type of every floating-point tensor. None keeps the types of the file, and its quantized tensors
            stay integers.
        trainable: `requires_grad` of the parameters.
        shapes: Observed shapes of graph inputs, for a part that reads the shape of an input it does not get (a cut
            head).
        in_place: Whether an activation may overwrite its input where nobody else reads it. False trains faster:
            in place, an activation has to copy its input for the backward pass.
        after: Functions of tensors, by tensor name. The value of that tensor is replaced by what the function makes
            of it, in the same shape, before anything reads it.

    Raises:
        ModelError: The graph does not have a tensor, or a tensor is too large to be meant.
        TwinUnsupported: Nodes cannot be built; it lists them, and what they block.
        NotComputable: The part reads an input's shape that is not known.
        UsageError: `after` names a tensor that the module does not make.
    """
    cut = graph.cut(outputs, inputs)
    check_sizes(graph, cut, dict(shapes or {}))
    chosen, _ = graph.needed(cut.outputs, inputs or ())
    constants = Constants(graph)
    batch = _fixed_batch(graph)
    compiler = Compiler(graph, constants, dtype is None, batch)
    records = [decode(graph.nodes[i], graph.tensor_array) for i in sorted(chosen)]
    _check(graph, sorted(chosen), records, compiler, cut.outputs)

    given = list(cut.inputs)
    phantoms = list(cut.leftover) if cut.shape_only else []
    if not cut.shape_only:
        given += cut.leftover
    own = {i.name for i in graph.inputs}
    behind = [name for name in given if name not in own]
    records, weights = fold(records, compiler, [*given, *phantoms], behind)
    if dtype is not None:
        records = fuse(records, constants, cut.outputs)
    layout = _Layout(compiler, weights, cut.outputs, in_place, after or {})
    program = layout.compile(records, given, phantoms)
    sizes = {name: _sizes(graph, cut, name, (shapes or {}).get(name), records) for name in phantoms}
    keys = name_state(dict.fromkeys((*graph.initializers, *(s.name for s in layout.stored))))
    twin = Twin(
        program,
        given,
        cut.outputs,
        layout.stored,
        keys,
        [Phantom(layout.register("value", name), size) for name, size in sizes.items()],
        dtype,
        trainable,
        None if batch is None else FixedBatch(batch, _batch_first(graph, cut.outputs, batch)),
    )
    return twin.to(device)


def _fixed_batch(graph: Graph) -> int | None:
    """The batch size that the file's picture input fixes, or None where it is free."""
    shape = graph.inputs[0].shape if graph.inputs else None
    return shape[0] if shape and len(shape) > 1 and isinstance(shape[0], int) else None


def _batch_first(graph: Graph, outputs: Sequence[str], batch: int) -> frozenset[str]:
    """Those of `outputs` whose first axis is the fixed batch, as far as the file tells."""
    shapes = {v.name: read_shape(v) for v in (*graph.value_infos.values(), *infer_types(graph.proto))}
    known = {name: shape for name, shape in shapes.items() if shape is not None and len(shape) > 1}
    return frozenset(
        name for name in outputs if name in known and known[name][0] == batch and name in graph.producer_of
    )


def _check(
    graph: Graph, chosen: Sequence[int], records: Sequence[Record], compiler: Compiler, outputs: Sequence[str]
) -> None:
    """Raises TwinUnsupported with every node that cannot be built."""
    refused = [
        describe_unsupported(graph, index, compiler.opsets.get(record.domain, 1), reason)
        for index, record in zip(chosen, records, strict=True)
        if (reason := explain_refusal(record, compiler)) is not None
    ]
    if refused:
        raise TwinUnsupported(refused, outputs)


def _sizes(
    graph: Graph, cut: Cut, name: str, observed: Sequence[int] | None, records: Sequence[Record]
) -> tuple[int, ...]:
    """The sizes behind the batch of an input of which only the shape is read."""
    if observed is not None:
        return tuple(observed[1:])
    declared = next(i.shape for i in graph.inputs if i.name == name)
    if declared is None:
        raise NotComputable(f"the part reads the shape of {name!r}, whose rank is unknown", "give shapes={...}")
    if all(isinstance(size, int) for size in declared[1:]):
        return tuple(int(size) for size in declared[1:] if size is not None)
    if not _reads_batch_only(name, records, cut):
        raise NotComputable(
            f"the part reads the shape of {name!r}, of which the file does not fix {declared[1:]}",
            f"give the shape of the picture: shapes={{{name!r}: (1, 3, 224, 224)}}",
        )
    return tuple(size if isinstance(size, int) else 1 for size in declared[1:])


def _reads_batch_only(name: str, records: Sequence[Record], cut: Cut) -> bool:
    """Whether everything that reads the shape of `name` takes its first number."""
    constants = {t.name: t for t in cut.proto.graph.initializer}

    def zero(tensor: str) -> bool:
        from onnx import numpy_helper

        return tensor in constants and not numpy_helper.to_array(constants[tensor]).any()

    for record in records:
        if name not in record.inputs:
            continue
        if record.op != "Shape":
            return False
        if (record.attributes.get("start", 0), record.attributes.get("end")) == (0, 1):
            continue
        for reader in (r for r in records if record.outputs[0] in r.inputs):
            if reader.op != "Gather" or reader.inputs[0] != record.outputs[0] or not zero(reader.inputs[1]):
                return False
    return True


class _Layout:
    """Gives every tensor a register, decides where it lives, and compiles the records into steps."""

    def __init__(
        self,
        compiler: Compiler,
        weights: Weights,
        asked: Sequence[str],
        in_place: bool,
        after: Mapping[str, ValueChange],
    ) -> None:
        self.compiler = compiler
        self.constants = compiler.constants
        self.weights = weights
        self.asked = asked
        self.in_place = in_place
        self.after = after
        self.transformed: set[str] = set()
        self.stored: list[Stored] = []
        self.host: set[str] = set()
        self.fresh: set[str] = set()
        self.template: list[Any] = [None, None, None, None]  # ANCHOR, BATCH, _ABSENT, REGISTERS
        self.steps: list[Step] = []
        self.reads: Counter[str] = Counter()
        self._registers: dict[tuple[str, str], int] = {}

    def register(self, kind: str, name: str) -> int:
        """The register of a tensor; kind is "value", "host" (a constant there), "device" or "moved"."""
        key = (kind, name)
        if key not in self._registers:
            self._registers[key] = len(self.template)
            self.template.append(None)
        return self._registers[key]

    def compile(self, records: Sequence[Record], given: Sequence[str], phantoms: Sequence[str]) -> Program:
        """The program of these records."""
        inputs = tuple(self.register("value", name) for name in given)
        for name in phantoms:
            self.register("value", name)
        self.reads.update(name for record in records for name in list_reads(record))
        self.reads.update(self.asked)
        for record in records:
            self._add(record)
        if lost := [name for name in self.after if name not in self.transformed]:
            raise UsageError(f"{listing(lost)} cannot be transformed: the module does not make them")
        outputs = tuple(
            self.device_constant(name) if name in self.constants else self.register("value", name)
            for name in self.asked
        )
        passing = {r for (kind, _), r in self._registers.items() if kind in ("value", "moved", "unread")}
        return Program(tuple(self.template), inputs, outputs, _with_liveness(self.steps, passing - set(outputs)))

    def _add(self, record: Record) -> None:
        if record.branches:
            self._add_if(record)
            return
        row = self.compiler.find(record)
        host = self._is_host(record, row)
        kernel, extras = self.compiler.kernel(record, host=host)
        registers = [ANCHOR if extra == "anchor" else BATCH for extra in extras]
        data = len(registers)
        for position, name in enumerate(record.inputs):
            registers.append(self._argument(name, position in row.settings, host))
        while registers and registers[-1] == _ABSENT:
            registers.pop()
        if host or row.makes_shape:
            self.host.update(record.outputs)
        elif row.fresh:
            self.fresh.update(name for name in record.outputs if name not in self.after)
        run, plain = kernel.run, kernel.run
        if kernel.inplace is not None and not host and self.in_place:
            run = self._inplace(kernel, record, registers, data)
        if any(name in self.after for name in record.outputs):
            run, plain = (self._transform(one, record.outputs) for one in (run, plain))
        outputs = tuple(
            self.register("value", name) if name else self.register("unread", "") for name in record.outputs
        )
        self.steps.append(
            Step(
                run,
                tuple(registers),
                outputs,
                (),
                plain,
                kernel.dead,
                data,
                tuple(record.outputs),
                record.label,
            )
        )

    def _transform(self, run: Run, names: Sequence[str]) -> Run:
        """`run` with the functions of :func:`build_twin`'s `after` applied to what it makes."""
        self.transformed.update(name for name in names if name in self.after)
        functions = [self.after.get(name) for name in names]

        def transformed(*given: Any) -> Any:
            made = run(*given)
            if type(made) is not tuple:
                return functions[0](made) if functions[0] is not None else made
            paired = zip(functions, made, strict=False)  # an operator may give more than is named
            return tuple(value if function is None else function(value) for function, value in paired)

        return transformed

    def _add_if(self, record: Record) -> None:
        """An If whose condition is known at run time only: both branches laid out over the same registers."""
        condition = self._argument(record.inputs[0], True, False)
        outer, known = self.steps, set(self._registers)
        bodies = []
        for branch in record.branches:
            self.steps = []
            for child in branch.records:
                self._add(child)
            results = tuple(self._argument(name, False, False) for name in branch.outputs)
            bodies.append(Body(tuple(self.steps), results))
            for key in [k for k in self._registers if k[0] == "moved" and k not in known]:
                del self._registers[key]  # it is there only when this branch was taken
        self.steps = outer
        outputs = tuple(self.register("value", name) for name in record.outputs)
        taken = {r for body in bodies for step in body.steps for r in step.inputs}
        captured = taken.union(*(body.results for body in bodies)) - {ANCHOR, BATCH, _ABSENT, REGISTERS}
        self.steps.append(
            make_branching_step(
                bodies,
                (REGISTERS, condition, *sorted(captured)),
                outputs,
                tuple(record.outputs),
                record.label,
            )
        )

    def _is_host(self, record: Record, row: OperatorForm) -> bool:
        """Whether a node is shape arithmetic: everything it computes with is on the host, or constant and no weight."""
        seen = bool(row.settings) or not record.inputs
        for position, name in enumerate(record.inputs):
            if not name or position in row.settings:
                continue
            if name in self.weights.parameters or not (name in self.constants or name in self.host):
                return False
            seen = True
        return seen

    def _argument(self, name: str, setting: bool, host: bool) -> int:
        """The register that holds this input where the step wants it."""
        if not name:
            return _ABSENT
        if name in self.constants:
            return self.host_constant(name) if setting or host else self.device_constant(name)
        value = self.register("value", name)
        if name not in self.host or setting or host:
            return value
        moved = ("moved", name) in self._registers
        target = self.register("moved", name)
        if not moved:
            move = _mover(self.compiler.exact)
            label = f"copy of {name!r} to the device"
            self.steps.append(Step(move, (ANCHOR, value), (target,), (), move, None, 0, ("",), label))
        return target

    def _inplace(self, kernel: Kernel, record: Record, registers: list[int], data: int) -> Run:
        """The in-place form if one of the operands is of no use to anyone else."""
        assert kernel.inplace is not None
        for position in range(min(2 if kernel.swaps else 1, len(record.inputs))):
            name = record.inputs[position]
            if name in self.fresh and self.reads[name] == 1:
                if position:
                    registers[data], registers[data + 1] = registers[data + 1], registers[data]
                return kernel.inplace
        return kernel.run

    def host_constant(self, name: str) -> int:
        """The register of a constant on the host, in the file's type."""
        register = self.register("host", name)
        self.template[register] = self.constants.get(name)
        return register

    def device_constant(self, name: str) -> int:
        """The register of a constant that the module keeps: a weight, a statistic, or neither."""
        known = ("device", name) in self._registers
        register = self.register("device", name)
        if not known:
            role = "parameter" if name in self.weights.parameters else "constant"
            role = "buffer" if name in self.weights.buffers else role
            value = self.constants[name]
            initializer = self.constants.is_initializer(name)
            self.stored.append(Stored(name, register, value, role, _dtype_name(value), initializer))
        return register


_ABSENT = 2
"""A register that stays None: an optional input that is not there."""


def _dtype_name(value: Tensor) -> str:
    return to_array(value.reshape(-1)[:0]).dtype.name


def _mover(exact: bool) -> Run:
    """Takes a tensor of the host to the device, in the twin's type if it is floating-point."""
    if exact:
        return lambda anchor, x: x.to(anchor.device)
    return lambda anchor, x: x.to(anchor.device, anchor.dtype) if x.is_floating_point() else x.to(anchor.device)


def _with_liveness(steps: Sequence[Step], passing: Collection[int]) -> tuple[Step, ...]:
    """The steps, each with those of the `passing` registers that are read for the last time, or never, there."""
    alive: set[int] = set()
    done = []
    for step in reversed(steps):
        touched = dict.fromkeys((*step.inputs, *step.outputs))
        done.append(replace(step, free=tuple(r for r in touched if r in passing and r not in alive)))
        alive.update(step.inputs)
    return tuple(reversed(done))

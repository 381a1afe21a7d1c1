"""Which constants are weights, and what can be computed once, when the twin is built."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import torch

from inspector.errors import NotComputable
from inspector.graph import FLOAT_TYPES
from inspector.twin.records import Compiler, Constants, Record, list_reads, walk_records


@dataclass
class Weights:
    """Tensor names by role: `parameters` are trained, `buffers` are running statistics. Other constants are neither."""

    parameters: dict[str, None] = field(default_factory=dict)
    buffers: dict[str, None] = field(default_factory=dict)


def fold(
    records: Sequence[Record], compiler: Compiler, inputs: Collection[str], behind_weights: Collection[str]
) -> tuple[list[Record], Weights]:
    """Takes out what depends on constants only; returns the records that are left, and the roles of the constants.

    A rearranged weight (Transpose, Unsqueeze... of an initializer) is not computed away: the initializer stays the
    parameter and the rearrangement stays in the forward pass, so that a gradient reaches what the file holds.

    Args:
        records: Nodes in their order.
        compiler: Of the graph.
        inputs: Tensors that are given at run time.
        behind_weights: Those of them that weights come before.
    """
    constants = compiler.constants
    constants.forget(inputs)
    every: list[Record] = []
    live: list[Record] = []
    chains: dict[str, Record] = {}
    queue = list(reversed(records))
    while queue:
        record = queue.pop()
        if record.branches:
            for branch in record.branches:
                for name, value in branch.constants.items():
                    constants.defer([name], lambda: None)
                    constants.set(name, value)
            if record.inputs[0] in constants:
                queue += reversed(_taken(record, bool(constants[record.inputs[0]].item())))
                continue
        every.append(record)
        row = compiler.find(record)
        if not all(name in constants for name in list_reads(record)):
            live.append(record)
            continue
        if row.view and _is_rearranged_weight(record, constants, chains):
            chains[record.outputs[0]] = record
        constants.defer([name for name in record.outputs if name], _deferred(record, compiler))
    weights, kept = _roles(list(walk_records(live)), compiler, chains, behind_weights)
    constants.forget(record.outputs[0] for record in kept)
    running = {id(record) for record in (*live, *kept)}
    return [record for record in every if id(record) in running], weights


def _taken(record: Record, condition: bool) -> list[Record]:
    """The nodes of the branch that an If with a constant condition takes, its results under the If's names."""
    branch = record.branches[0 if condition else 1]
    pairs = zip(branch.outputs, record.outputs, strict=True)
    return [*branch.records, *(Record("Identity", "", record.name, [a], [b], {}) for a, b in pairs)]


def _is_rearranged_weight(record: Record, constants: Constants, chains: dict[str, Record]) -> bool:
    source = record.inputs[0]
    if record.op == "Cast" and record.attributes.get("to") not in FLOAT_TYPES:
        return False
    return source in chains or (constants.is_initializer(source) and constants.is_float(source))


def _deferred(record: Record, compiler: Compiler) -> Callable[[], None]:
    def compute() -> None:
        constants = compiler.constants
        kernel, _ = compiler.kernel(record, host=True)
        try:
            with torch.no_grad():
                result = kernel.run(*(constants[name] if name else None for name in record.inputs))
        except (RuntimeError, ValueError, IndexError, TypeError, ArithmeticError) as error:
            raise NotComputable(f"the {record.label} has constant inputs that it cannot run on: {error}") from None
        results = result if isinstance(result, tuple) else (result,)
        for name, value in zip(record.outputs, results, strict=False):
            if name:
                constants.set(name, value)

    return compute


def _roles(
    live: Sequence[Record], compiler: Compiler, chains: dict[str, Record], behind_weights: Collection[str]
) -> tuple[Weights, list[Record]]:
    """The weights among the constants that `live` reads, and the rearrangements of weights that must stay."""
    constants = compiler.constants
    weights = Weights()
    kept: dict[int, Record] = {}
    behind = set(behind_weights)

    def mark(name: str) -> None:
        while name in chains:
            record = chains[name]
            kept[id(record)] = record
            name = record.inputs[0]
        weights.parameters[name] = None

    for record in live:
        row = compiler.find(record)
        follows = any(name in behind for name in record.inputs)
        for position, name in enumerate(record.inputs):
            if name not in constants:
                continue
            if position in row.buffers and constants.is_float(name):
                weights.buffers[name] = None
            elif (
                position in row.weights
                and (name in chains or constants.is_float(name))
                and (not row.loose_weights or (follows and constants.numel(_root(name, chains)) > 1))
            ):
                mark(name)
                follows = True
        if follows:
            behind.update(name for name in record.outputs if name)
    for name in weights.parameters:
        weights.buffers.pop(name, None)
    return weights, list(kept.values())


def _root(name: str, chains: dict[str, Record]) -> str:
    while name in chains:
        name = chains[name].inputs[0]
    return name

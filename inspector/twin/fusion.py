"""Patterns that torch has one function for. Each becomes one record, where nobody else reads what is inside it."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import torch

from inspector.twin.records import Constants, Record, find_readers


def fuse(records: Sequence[Record], constants: Constants, asked: Collection[str]) -> list[Record]:
    """The records with their patterns replaced; `asked` tensors stay what they are."""
    fuser = _Fuser(records, constants, asked)
    for record in reversed(records):  # the widest pattern ends last
        if id(record) not in fuser.gone:
            fuser.try_all(record)
    return [fuser.replacement.get(id(r), r) for r in records if id(r) not in fuser.gone]


class _Fuser:
    def __init__(self, records: Sequence[Record], constants: Constants, asked: Collection[str]) -> None:
        self.constants = constants
        self.asked = asked
        self.maker = {name: record for record in records for name in record.outputs if name}
        self.readers = find_readers(records)
        self.gone: set[int] = set()
        self.replacement: dict[int, Record] = {}

    # --- looking ------------------------------------------------------------------------------------------------

    def inner(self, name: str, *ops: str, reads: int = 1) -> Record | None:
        """The record that makes `name`, if it is one of `ops`, and only `reads` readers see its result."""
        record = self.maker.get(name)
        if record is None or record.op not in ops or record.domain != "" or len(record.outputs) != 1:
            return None
        if name in self.asked or len(self.readers.get(name, ())) != reads or id(record) in self.gone:
            return None
        return None if id(record) in self.replacement else record

    def number(self, name: str) -> float | None:
        """The value of a constant of one element and at most one axis (more would change the rank)."""
        if name not in self.constants or not self.constants.is_float(name) or self.constants.numel(name) != 1:
            return None
        value = self.constants[name]
        return float(value.reshape(()).item()) if value.dim() <= 1 else None

    def with_number(self, record: Record) -> tuple[str, float] | None:
        """(tensor, number) of an operation on a tensor and a constant number, in either order."""
        if len(record.inputs) != 2:
            return None
        a, b = record.inputs
        for name, other in ((a, b), (b, a)):
            value = self.number(other)
            if value is not None and name not in self.constants:
                return name, value
        return None

    # --- replacing ----------------------------------------------------------------------------------------------

    def try_all(self, record: Record) -> None:
        """Replaces `record` and what is behind it by the first pattern that fits."""
        if record.domain != "" or len(record.outputs) != 1:
            return
        try:
            if record.op in ("Mul", "Div"):
                self.product(record)
            elif record.op == "Add" and not self.layer_norm(record):
                self.linear(record)
            elif record.op == "Gather":
                self.reshape(record)
        except (ValueError, IndexError):  # a damaged node, with more or fewer inputs than its operator has
            return

    def replace(self, last: Record, inside: Sequence[Record], op: str, inputs: list[str], **attributes: object) -> bool:
        """`last` and `inside` become one record of the table's own domain."""
        self.gone.update(id(record) for record in inside if record is not last)
        self.replacement[id(last)] = Record(op, "inspector", last.name, inputs, last.outputs, dict(attributes))
        return True

    # --- the patterns -------------------------------------------------------------------------------------------

    def factors(self, record: Record) -> tuple[float, list[str], list[Record]]:
        """A tree of products and divisions by numbers, flattened: its number, its tensors, its records."""
        number, names, inside = 1.0, [], [record]
        left, right = record.inputs
        for position, name in enumerate((left, right)):
            value = self.number(name)
            if value is not None and (record.op == "Mul" or (position == 1 and value != 0)):
                number *= value if record.op == "Mul" else 1 / value
                continue
            child = self.inner(name, "Mul", "Div")
            if child is not None and not (record.op == "Div" and position == 1):
                nested = self.factors(child)
                if nested[1]:
                    number *= nested[0]
                    names += nested[1]
                    inside += nested[2]
                    continue
            if record.op == "Div" and position == 1:
                return 1.0, [], []
            names.append(name)
        return number, names, inside

    def product(self, record: Record) -> bool:
        """x * gate(x) and its relatives: silu, gelu, mish, hard-swish."""
        number, names, inside = self.factors(record)
        if len(names) != 2:
            return False
        return any(self.gated(record, inside, number, x, gate) for x, gate in (names, names[::-1]))

    def gated(self, last: Record, inside: list[Record], number: float, x: str, gate: str) -> bool:
        one, half, sixth = (math.isclose(number, v, rel_tol=1e-5) for v in (1.0, 0.5, 1 / 6))
        if one and (s := self.inner(gate, "Sigmoid")) and s.inputs == [x]:
            return self.replace(last, [*inside, s], "Silu", [x])
        if one and (s := self.inner(gate, "HardSigmoid")) and s.inputs == [x]:
            alpha, beta = s.attributes.get("alpha", 0.2), s.attributes.get("beta", 0.5)
            if math.isclose(alpha, 1 / 6, rel_tol=1e-6) and beta == 0.5:
                return self.replace(last, [*inside, s], "HardSwish", [x])
        plus = self.inner(t.inputs[0], "Softplus") if one and (t := self.inner(gate, "Tanh")) else None
        if plus is not None and plus.inputs == [x]:
            return self.replace(last, [*inside, self.maker[gate], plus], "Mish", [x])
        if sixth and (c := self.inner(gate, "Clip")) and self.limits(c) == (0.0, 6.0):
            add = self.inner(c.inputs[0], "Add")
            if add is not None and self.with_number(add) == (x, 3.0):
                return self.replace(last, [*inside, c, add], "HardSwish", [x])
        if half and (add := self.inner(gate, "Add")) and (found := self.with_number(add)) and found[1] == 1.0:
            erf = self.inner(found[0], "Erf")
            scaled = self.inner(erf.inputs[0], "Mul", "Div") if erf is not None else None
            if erf is not None and scaled is not None:
                scale, names, parts = self.factors(scaled)
                if names == [x] and math.isclose(scale, math.sqrt(0.5), rel_tol=1e-5):
                    return self.replace(last, [*inside, add, erf, *parts], "Gelu", [x])
        return False

    def limits(self, clip: Record) -> tuple[float, float] | None:
        """The limits of a Clip node, by attribute or input."""
        if "min" in clip.attributes and "max" in clip.attributes:
            return clip.attributes["min"], clip.attributes["max"]
        if len(clip.inputs) != 3:
            return None
        low, high = (self.number(name) for name in clip.inputs[1:])
        return None if low is None or high is None else (low, high)

    def linear(self, add: Record) -> bool:
        """x @ W + b with a constant matrix and vector."""
        for product_name, bias_name in (add.inputs, add.inputs[::-1]):
            product = self.inner(product_name, "MatMul")
            if product is None or bias_name not in self.constants or product.inputs[1] not in self.constants:
                continue
            weight, bias = self.constants.get(product.inputs[1]), self.constants.get(bias_name)
            if weight is None or bias is None or product.inputs[0] in self.constants:
                continue
            if weight.dim() == 2 and weight.is_floating_point() and bias.shape == weight.shape[1:]:
                return self.replace(add, [product], "Linear", [product.inputs[0], product.inputs[1], bias_name])
        return False

    def reshape(self, gather: Record) -> bool:
        """A tensor made flat and picked from in order: torch's as_strided, which would freeze batch and size."""
        flat = self.inner(gather.inputs[0], "Reshape")
        index = self.constants.get(gather.inputs[1])
        if flat is None or index is None or gather.attributes.get("axis", 0) != 0 or index.dim() == 0:
            return False
        target = self.constants.get(flat.inputs[1])
        if target is None or target.flatten().tolist() != [-1] or flat.inputs[0] in self.constants:
            return False
        if not torch.equal(index.flatten(), torch.arange(index.numel(), dtype=index.dtype)):
            return False
        shape = f"{gather.outputs[0]}/shape"
        self.constants.defer([shape], lambda: None)
        self.constants.set(shape, torch.tensor(index.shape, dtype=torch.int64))
        self.gone.add(id(flat))
        self.replacement[id(gather)] = Record("Reshape", "", gather.name, [flat.inputs[0], shape], gather.outputs, {})
        return True

    def layer_norm(self, add: Record) -> bool:
        """(x - mean) / sqrt(mean((x - mean)^2) + eps) * gamma + beta along the last axis, as before opset 17."""
        for scaled_name, beta in (add.inputs, add.inputs[::-1]):
            scaled = self.inner(scaled_name, "Mul") if beta in self.constants else None
            if scaled is None:
                continue
            for normal_name, gamma in (scaled.inputs, scaled.inputs[::-1]):
                normal = self.inner(normal_name, "Div") if gamma in self.constants else None
                found = self.standardised(normal) if normal is not None else None
                if normal is None or found is None:
                    continue
                x, eps, inside = found
                same = self.constants.get(gamma), self.constants.get(beta)
                if same[0] is None or same[1] is None or not same[0].dim() == same[1].dim() == 1:
                    continue
                parts = [scaled, normal, *inside]
                return self.replace(add, parts, "LayerNormalization", [x, gamma, beta], axis=-1, epsilon=eps)
        return False

    def standardised(self, normal: Record) -> tuple[str, float, list[Record]] | None:
        """The x and eps of (x - mean) / sqrt(mean((x - mean)^2) + eps), and the records inside."""
        root = self.inner(normal.inputs[1], "Sqrt")
        add = self.inner(root.inputs[0], "Add") if root else None
        with_eps = self.with_number(add) if add else None
        variance = self.inner(with_eps[0], "ReduceMean") if with_eps else None
        square = self.inner(variance.inputs[0], "Pow", "Mul") if variance else None
        centred = self.inner(normal.inputs[0], "Sub", reads=2) or self.inner(normal.inputs[0], "Sub", reads=3)
        if not (root and add and with_eps and variance and square and centred):
            return None
        squared = square.inputs[0] == centred.outputs[0] and (
            square.inputs[1] == centred.outputs[0] if square.op == "Mul" else self.number(square.inputs[1]) == 2.0
        )
        mean = self.inner(centred.inputs[1], "ReduceMean")
        seen = 3 if square.op == "Mul" else 2
        if not squared or mean is None or len(self.readers[centred.outputs[0]]) != seen:
            return None
        if mean.inputs[0] != centred.inputs[0] or not all(self.over_last(r) for r in (mean, variance)):
            return None
        return centred.inputs[0], with_eps[1], [root, add, variance, square, centred, mean]

    def over_last(self, mean: Record) -> bool:
        """Whether a ReduceMean goes along the last axis only and keeps it."""
        axes = mean.attributes.get("axes")
        if len(mean.inputs) == 2 and mean.inputs[1] in self.constants:
            axes = self.constants[mean.inputs[1]].flatten().tolist()
        return axes == [-1] and mean.attributes.get("keepdims", 1) == 1

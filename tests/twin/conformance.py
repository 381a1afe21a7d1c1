"""The onnx package's own test cases, run on the twin. As a script it prints the table of docs/operators.md:

python -m tests.twin.conformance
"""

from __future__ import annotations

import re
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from inspector.errors import InspectorError
from inspector.graph import read_graph
from inspector.twin import build_twin, list_supported_operators
from inspector.twin.types import to_array, to_tensor

_FEW_BITS = "torch has no tensors of 4 or 2 bits"
_INTEGERS_OF_4_BITS = r"test_quantizelinear_uint4"
IMPOSSIBLE = {
    # Integers of 4 or 2 bits can be read, since a byte holds them, and not be made.
    r"test_cast(like)?_(no_saturate_)?\w*(_to_U?INT[24]|FLOAT4E2M1|E8M0)(_expanded)?": _FEW_BITS,
    r"test_cast(like)?_(no_saturate_)?\w*(FLOAT4E2M1|E8M0)_to_\w*": _FEW_BITS,
    r"test_quantizelinear_(int4|u?int2|float4e2m1)": _FEW_BITS,
    r"test_dequantizelinear_float4e2m1": _FEW_BITS,
    _INTEGERS_OF_4_BITS: _FEW_BITS,
    r"test_equal_string(_broadcast)?": "torch has no tensors of strings",
    r"test_training_dropout(_default)?(_mask)?": "draws random numbers, with a generator of its own",
    r"test_if_(seq|opt)": "the branches give sequences and optionals, which are not tensors",
    r"test_resize_downsample_scales_(linear|cubic)_align_corners": "onnxruntime has another formula",
}
"""Cases that the twin cannot pass with the file's own types: pattern of the whole name -> reason."""

IMPOSSIBLE_IN_FLOAT32 = {
    # The values of this case are right; only their type is not.
    **{pattern: why for pattern, why in IMPOSSIBLE.items() if pattern != _INTEGERS_OF_4_BITS},
    r"test_bitcast_int(32|64)_to_float(32|64)": "the bits of a float, whose type the twin chooses",
}
"""The same for a twin of one floating-point type."""


@dataclass(frozen=True)
class Case:
    """One test case: the model, feeds and expected outputs."""

    name: str
    model: onnx.ModelProto
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    rtol: float
    atol: float

    @property
    def operators(self) -> frozenset[str]:
        """All that the model uses."""
        return frozenset(f"{n.domain}:{n.op_type}" if n.domain else n.op_type for n in self.model.graph.node)


@dataclass(frozen=True)
class Outcome:
    """What became of a case: error is empty when it passed; reason says why it is known not to."""

    name: str
    operators: frozenset[str]
    error: str
    reason: str


def node_cases() -> Iterator[Case]:
    """The cases that the onnx package makes for its operators."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's, about overflows that the cases provoke
        collected = collect_testcases(None)
    for case in collected:
        for index, (inputs, outputs) in enumerate(case.data_sets or ()):
            name = case.name if index == 0 else f"{case.name}/{index}"
            yield Case(name, case.model, tuple(inputs), tuple(outputs), case.rtol, case.atol)


def disk_cases() -> Iterator[Case]:
    """The small models in the onnx package that were exported from torch, with their data."""
    root = Path(onnx.__file__).parent / "backend" / "test" / "data"
    for kind in ("pytorch-converted", "pytorch-operator", "simple"):
        for folder in sorted((root / kind).iterdir()):
            model = onnx.load(folder / "model.onnx")
            for data in sorted(folder.glob("test_data_set_*")):
                inputs = _arrays(data, "input", model.graph.input)
                yield Case(
                    f"{kind}/{folder.name}", model, inputs, _arrays(data, "output", model.graph.output), 1e-3, 1e-6
                )


def _arrays(folder: Path, which: str, infos: Any) -> tuple[Any, ...]:
    files = [folder / f"{which}_{i}.pb" for i in range(len(list(folder.glob(f"{which}_*.pb"))))]
    return tuple(_load(path, info.type) for path, info in zip(files, infos, strict=False))


def _load(path: Path, kind: onnx.TypeProto) -> Any:
    if kind.WhichOneof("value") != "tensor_type":
        return None
    return numpy_helper.to_array(onnx.TensorProto.FromString(path.read_bytes()))


def run(case: Case, folder: Path, dtype: torch.dtype | None = None) -> None:
    """Builds the case's model, runs it and compares. Raises AssertionError, or what the twin raises."""
    path = folder / "case.onnx"
    path.write_bytes(case.model.SerializeToString())
    graph = read_graph(path)
    twin = build_twin(graph, [o.name for o in case.model.graph.output if o.name], dtype=dtype)
    initial = {t.name for t in case.model.graph.initializer}
    declared = [i.name for i in case.model.graph.input]
    names = declared if len(case.inputs) == len(declared) else [n for n in declared if n not in initial]
    feeds = dict(zip(names, case.inputs, strict=False))
    given = [to_tensor(_array(feeds[name])) for name in twin.inputs]
    half = (torch.float16, torch.bfloat16)
    results = twin(*(x.to(dtype) if dtype is not None and x.dtype in half else x for x in given))
    assert list(results) == [o.name for o in case.model.graph.output]
    for value, wanted in zip(results.values(), case.outputs, strict=True):
        expected, array = _array(wanted), to_array(value)
        assert array.shape == expected.shape, (array.shape, expected.shape)
        assert dtype is not None or array.dtype == expected.dtype, (array.dtype, expected.dtype)
        # The last bits of a 16-bit result depend on the order of the sum.
        spacing = 2 * _epsilon(expected.dtype)
        with np.errstate(invalid="ignore"):  # a float8 nan, to numpy
            array, expected = array.astype(np.complex128), expected.astype(np.complex128)
        np.testing.assert_allclose(array, expected, rtol=max(case.rtol, spacing), atol=max(case.atol, 1e-6))


def _array(value: Any) -> Any:
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def _epsilon(dtype: np.dtype[Any]) -> float:
    return {"float16": 2.0**-10, "bfloat16": 2.0**-7}.get(dtype.name, 0.0)


def outcomes(cases: Iterable[Case], dtype: torch.dtype | None = None) -> list[Outcome]:
    """Runs every case whose operators are all in the table."""
    known, results = set(list_supported_operators()), []
    reasons = IMPOSSIBLE if dtype is None else IMPOSSIBLE_IN_FLOAT32
    with tempfile.TemporaryDirectory() as folder:
        for case in cases:
            if not case.operators <= known:
                continue
            error = ""
            try:
                run(case, Path(folder), dtype)
            except (InspectorError, AssertionError, TypeError, NotImplementedError) as caught:
                error = f"{type(caught).__name__}: {' '.join(str(caught).split())[:300]}"
            reason = next((why for pattern, why in reasons.items() if re.fullmatch(pattern, case.name)), "")
            results.append(Outcome(case.name, case.operators, error, reason))
    return results


def table(results: Iterable[Outcome], across: int = 4) -> str:
    """Markdown: operator and cases passed of those that the onnx package has, `across` operators in a row."""
    passed: dict[str, int] = {}
    total: dict[str, int] = {}
    for outcome in results:
        for name in outcome.operators:
            total[name] = total.get(name, 0) + 1
            passed[name] = passed.get(name, 0) + (not outcome.error)
    cells = [f"{name} | {passed[name]} of {total[name]}" for name in sorted(total)]
    cells += [" | "] * (-len(cells) % across)
    lines = ["| operator | cases " * across + "|", "|---|---" * across + "|"]
    lines += [f"| {' | '.join(cells[start : start + across])} |" for start in range(0, len(cells), across)]
    without = [name for name in list_supported_operators() if name not in total]
    lines += ["", f"Compared with onnxruntime instead, for want of cases: {', '.join(without)}."]
    return "\n".join(lines)


def summary(results: Iterable[Outcome]) -> str:
    """What docs/operators.md ends with: the table, the total, and what did not pass and why."""
    found = list(results)
    lines = [table(found), "", f"{sum(not o.error for o in found)} of {len(found)} cases pass. The others:", ""]
    for why in dict.fromkeys(IMPOSSIBLE.values()):
        lines.append(f"- {sum(bool(o.error) and o.reason == why for o in found)}: {why}")
    return "\n".join(lines)


if __name__ == "__main__":
    every = outcomes([*node_cases(), *disk_cases()])
    print(summary(every))
    sys.exit(any(o.error and not o.reason for o in every))

"""What people do to a finished file: optimise, quantise, halve, simplify, move the weights out and in again."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

VARIANTS: dict[str, tuple[str, str, Callable[[Path, Path], None]]] = {}
"""By name: who writes such a file, the package that it needs beside onnxruntime ("" for none), and the function."""


def variant(name: str, by: str, needs: str = "") -> Callable[[Callable[[Path, Path], None]], Any]:
    def enter(make: Callable[[Path, Path], None]) -> Callable[[Path, Path], None]:
        VARIANTS[name] = (by, needs, make)
        return make

    return enter


def make_variant(name: str, source: Path, target: Path) -> None:
    """Write one variant, with the chatter of its tool kept away."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            VARIANTS[name][2](source, target)
    finally:
        logging.disable(logging.NOTSET)


def _optimise(source: Path, target: Path, level: str) -> None:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_ENABLE_{level}")
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 4
    onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


@variant("ort-basic", "onnxruntime's optimiser, basic")
def _basic(source: Path, target: Path) -> None:
    _optimise(source, target, "BASIC")


@variant("ort-extended", "onnxruntime's optimiser, extended")
def _extended(source: Path, target: Path) -> None:
    _optimise(source, target, "EXTENDED")


@variant("ort-all", "onnxruntime's optimiser, all, for this machine")
def _all(source: Path, target: Path) -> None:
    _optimise(source, target, "ALL")


class Noise(CalibrationDataReader):  # type: ignore[misc]
    """Three random inputs, the same every time."""

    def __init__(self, source: Path) -> None:
        value = onnx.load(source).graph.input[0]
        shape = [d.dim_value or (32 if i else 1) for i, d in enumerate(value.type.tensor_type.shape.dim)]
        rng = np.random.default_rng(0)
        self.feeds: Iterator[dict[str, Any]] = iter(
            [{value.name: rng.standard_normal(shape).astype(np.float32)} for _ in range(3)]
        )

    def get_next(self) -> dict[str, Any] | None:
        return next(self.feeds, None)


@variant("dynamic", "onnxruntime's quantize_dynamic")
def _dynamic(source: Path, target: Path) -> None:
    quantize_dynamic(source, target, weight_type=QuantType.QUInt8)


@variant("qdq", "onnxruntime's quantize_static, QDQ")
def _qdq(source: Path, target: Path) -> None:
    quantize_static(source, target, Noise(source), quant_format=QuantFormat.QDQ)


@variant("qdq-per-channel", "onnxruntime's quantize_static, QDQ, a scale per channel")
def _per_channel(source: Path, target: Path) -> None:
    types = {"activation_type": QuantType.QInt8, "weight_type": QuantType.QInt8}
    quantize_static(source, target, Noise(source), quant_format=QuantFormat.QDQ, per_channel=True, **types)


@variant("qoperator", "onnxruntime's quantize_static, QOperator")
def _qoperator(source: Path, target: Path) -> None:
    quantize_static(source, target, Noise(source), quant_format=QuantFormat.QOperator)


@variant("half", "onnxruntime's converter to float16, input and output too")
def _half(source: Path, target: Path) -> None:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(source)), target)


@variant("half-inside", "onnxconverter-common's float16, input and output in single", needs="onnxconverter_common")
def _half_inside(source: Path, target: Path) -> None:
    from onnxconverter_common import float16

    onnx.save(float16.convert_float_to_float16(onnx.load(source), keep_io_types=True), target)


@variant("external", "onnx.save with external data, then one file again")
def _external(source: Path, target: Path) -> None:
    aside = target.with_suffix(".aside.onnx")
    onnx.save(onnx.load(source), aside, save_as_external_data=True, location=f"{target.stem}.bin", size_threshold=0)
    onnx.save(onnx.load(aside), target)
    aside.unlink()
    target.with_name(f"{target.stem}.bin").unlink()


@variant("onnxslim", "onnxslim", needs="onnxslim")
def _slim(source: Path, target: Path) -> None:
    import onnxslim

    onnx.save(onnxslim.slim(str(source)), target)


@variant("onnxsim", "onnxsim", needs="onnxsim")
def _sim(source: Path, target: Path) -> None:
    import onnxsim

    simplified, _ = onnxsim.simplify(onnx.load(source))
    onnx.save(simplified, target)


@variant("opset-16", "onnx's version converter")
def _older(source: Path, target: Path) -> None:
    onnx.save(onnx.version_converter.convert_version(onnx.load(source), 16), target)

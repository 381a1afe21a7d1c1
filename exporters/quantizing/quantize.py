"""Smaller variants of an .onnx file: int8 by calibration on pictures, or fp16. Needs no torch.

int8 is static and in ONNX's QDQ form, which any runtime reads: weights int8, symmetric, one scale per output channel;
activations uint8 with a zero point, one scale per tensor, by calibration; biases int32; scores float. The arithmetic
is that of Jacob et al. 2018 (arXiv:1712.05877), the ranges fit the values seen on the calibration pictures, and
the shift of the mean that rounding the weights causes is taken from the biases (Nagel et al. 2019, arXiv:1906.04721,
section 4.2).

Names are what onnxruntime's own tool does not keep: it removes activations and renames what it touches. Here a tensor
keeps its name (it is then the dequantized value), so that layers, class activation maps and audits work as before.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from exporters.quantizing.cost import QuantizedModel, measure_cost
from exporters.quantizing.finish import finish_file
from exporters.quantizing.half import convert_to_half
from exporters.quantizing.keeping import Note, Trial, blame_copy, choose_kept, find_kept
from exporters.quantizing.overflow import find_overflow
from exporters.quantizing.pictures import CalibrationPictures, choose_pictures, skip_unreadable
from exporters.quantizing.plan import plan_integers
from exporters.quantizing.qdq import write_integers
from exporters.quantizing.quantizable import check_no_blocks, check_no_integers, read_quantizable
from inspector.errors import UsageError, listing
from inspector.files import atomic_path, temporary_folder
from inspector.guard import check_outputs
from inspector.model import Model, drop_false_classes, open_model
from inspector.runtime import shorten_provider

To = Literal["int8", "fp16"]
Expose = Literal["free", "all", "none"]
PICTURES = 200
"""Calibration pictures used at most, evenly spread over the folder."""


# Wide: the keyword-only parameters are the options of `inspector quantize`.
# Long: nearly half is the description of its parameters.
def quantize_model(
    model: str | os.PathLike[str] | Model,
    path: str | os.PathLike[str],
    calibrate: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    to: To | str = "int8",
    keep: Sequence[str] = (),
    auto: bool = False,
    target: float = 0.95,
    expose: Expose | str = "free",
    reduce_range: bool = False,
    pictures: int = PICTURES,
    provider: str = "auto",
    threads: int | None = None,
    note: Note | None = None,
) -> QuantizedModel:
    """Write a quantized copy of a model, measured against it, or write nothing.

    Args:
        model: The float model, or its file.
        path: The file to write.
        calibrate: A folder of pictures, or their paths. ``fp16`` is only measured on them.
        to: ``int8`` or ``fp16``.
        keep: Names of layers that stay in float.
        auto: Whether more layers stay in float, those that hurt most first, until `target` is reached.
        target: The agreement of the answers that `auto` reaches, in (0, 1].
        expose: Which of the layers that the source exposes the copy exposes: ``free``, those that cost no speed (not
            what lies between a convolution and its activation), ``all`` or ``none``. Every layer can be looked at in
            any case.
        reduce_range: Whether weights take 7 bits, for x86 machines without VNNI, whose int8 sums saturate.
        pictures: How many pictures are used at most.
        provider: Where a file is given: what onnxruntime computes with, see :func:`inspector.open_model`.
        threads: Where a file is given: how many threads it uses; None for its own choice.
        note: Gets a line on what is being done.

    Returns:
        The file that was written, and what it cost.

    Raises:
        UsageError: An option is wrong.
        LayerNotFound: `keep` names a layer that the model does not have.
        ImageError: There are no pictures.
        ModelError: The model cannot be read or run.
        OutputError: The file cannot be written.
        QuantizeError: There is nothing to quantize, it is quantized already, the operator set cannot be raised to 13,
            or the target was not reached.

    Example:
        >>> made = quantize_model(model, folder / "half.onnx", ["docs/chelsea.jpg"], to="fp16")
        >>> made.agreement
        1.0
    """
    _check_options(to, keep, auto, target, expose)
    source = drop_false_classes(_open(model, provider, threads))
    paths, skipped = skip_unreadable(choose_pictures(calibrate, pictures))
    check_outputs({"-o": path}, {"the model itself": source.graph.files, "one of the pictures": paths})
    inputs = CalibrationPictures(source, paths)
    if to == "fp16":
        check_no_integers(source)
        check_no_blocks(source)
    network = read_quantizable(source)
    kept = tuple(find_kept(source, network, name) for name in keep)
    expected = inputs.answer(source)
    with temporary_folder() as folder, blame_copy(source, folder / "trial.onnx"):
        trial = Trial(source, network, inputs, expected, folder / "trial.onnx")
        if to == "fp16":
            proto = convert_to_half(network)
        else:
            plan = plan_integers(source, network, inputs.read(), len(paths), reduce_range)
            if auto:
                kept = choose_kept(trial, plan, kept, target, note or (lambda line: None))
            proto = write_integers(plan, plan.nodes_of(kept))
        finished = finish_file(source, proto, to, expose, kept, len(paths))
        result = measure_cost(source, trial.open(finished), inputs, expected, to, kept)
        with atomic_path(path) as temporary:
            temporary.write_bytes(finished.SerializeToString())
    compared = {row.layer for row in result.drift}
    notes = skipped + (find_overflow(source, network, inputs) if to == "fp16" else ())
    if silent := [layer.name for layer in source.layers if layer.name not in compared]:
        notes += (
            f"no drift is known of {listing(silent)}: empty, or of another size in the two files, on every picture",
        )
    if auto and result.agreement is not None and result.agreement < target:
        # The trials expose no layers, and what a file exposes changes how the runtime fuses and rounds.
        notes += (
            f"the written file agrees on {result.agreement:.1%} of the {result.counted}, less than the {target:.1%} "
            "that its trial without exposed layers reached; give --expose none, or a higher --target",
        )
    return replace(result, path=Path(path), notes=notes)


def _open(model: str | os.PathLike[str] | Model, provider: str, threads: int | None) -> Model:
    """The model, opened where it is a file. One that is open computes as it does, and so do the trials of its copy."""
    if not isinstance(model, Model):
        return open_model(model, provider=provider, threads=threads)
    if shorten_provider(provider) not in ("auto", model.provider) or threads not in (None, model.threads):
        raise UsageError(
            f"{model.path} is open already, so provider and threads cannot be chosen any more",
            "give them to open_model",
        )
    return model


def _check_options(to: str, keep: Sequence[str], auto: bool, target: float, expose: str) -> None:
    if to not in ("int8", "fp16"):
        raise UsageError(f"there is no format {to!r}", "known: int8, fp16")
    if expose not in ("free", "all", "none"):
        raise UsageError(f"there is no way {expose!r} to expose layers", "known: free, all, none")
    if auto and to != "int8":
        raise UsageError("--auto chooses layers of an int8 network", "leave it out for fp16")
    if keep and to != "int8":
        raise UsageError("--keep chooses layers of an int8 network", "leave it out for fp16")
    if not 0 < target <= 1:
        raise UsageError(f"target {target} is not above 0 and at most 1")

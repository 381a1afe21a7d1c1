"""From a model to a smaller file with the same answers, and a certificate of it; or nothing is written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from exporters.slimming.certificate import make_certificate
from exporters.slimming.finish import finish_slim
from exporters.slimming.measure import Difference, iterate_shown, measure_differences
from exporters.slimming.result import LayerChannels, SlimError, SlimmedModel
from exporters.slimming.rewrite import cut_graph
from exporters.slimming.unseen import UnseenChannels, find_unseen, to_values
from inspector.errors import ImageError, ModelError, UsageError
from inspector.files import atomic_path, temporary_folder
from inspector.guard import check_outputs
from inspector.image import find_images, open_image
from inspector.model import Model, open_model
from inspector.slimming import CutChannels, SlimPlan, find_model_plan

Note = Callable[[str], None]


def slim_model(
    source: Model,
    path: str | os.PathLike[str],
    *,
    certificate: str | os.PathLike[str] | None = None,
    data: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    also_unseen: bool = False,
    smallest: bool = False,
    note: Note | None = None,
) -> SlimmedModel:
    """Write a copy of a model without what provably does nothing, compared with it, or write nothing.

    Args:
        source: The model.
        path: The file to write.
        certificate: The JSON document to write beside it; None for none.
        data: A folder of pictures, or their paths: compared too, and watched for channels that never change.
        also_unseen: Whether channels that never change on `data` are cut too. Nothing proves them.
        smallest: Whether channels also go where that may make the network slower.
        note: Gets a line on what is being done.

    Returns:
        The file that was written, what was cut, and how far its outputs are apart.

    Raises:
        UsageError: `also_unseen` was given without `data`.
        ImageError: There are no pictures in `data`.
        SlimError: An output differs by more than 1e-5 of its scale.
        OutputError: A file cannot be written.
    """
    say = note or (lambda line: None)
    pictures = _choose_pictures(data, also_unseen, say)
    check_outputs(
        {"-o": path, "--certificate": certificate}, {"the model itself": source.graph.files, "a picture": pictures}
    )
    plan = find_model_plan(source, smallest=smallest)
    unseen: tuple[UnseenChannels, ...] = ()
    if pictures:
        say(f"{plan.total} channels go by proof; {len(pictures)} pictures are watched for others")
        unseen = find_unseen(source, plan, pictures)
    with temporary_folder() as folder:
        more = find_model_plan(source, to_values(unseen, plan), smallest) if unseen else plan
        taken, cut_unseen = (more, unseen) if also_unseen else (plan, ())
        trial = folder / "trial.onnx"
        made = _try_plan(source, taken, trial, cut_unseen)
        shown = list(iterate_shown(source, pictures, made=not cut_unseen))
        found = measure_differences(source, _open_like(source, trial), shown, list_kept(taken))
        check_differences(source, found)
        result = replace(
            _sum_up(source, taken, made, found), path=Path(path), pictures=len(pictures), unseen=unseen,
            smallest=smallest, unseen_cut=bool(cut_unseen), unseen_more=more.total - plan.total,
            proven_total=plan.total,
            unseen_effect=_measure_effect(source, more, folder / "more.onnx", unseen),
            certificate=None if certificate is None else Path(certificate),
        )  # fmt: skip
        text = "" if certificate is None else make_certificate(source, result, [name for name, _ in shown])
        _write_both(path, trial.read_bytes(), certificate, text)
    return result


def _write_both(
    path: str | os.PathLike[str], model: bytes, certificate: str | os.PathLike[str] | None, text: str
) -> None:
    """Write a model and its certificate; neither is there before both are complete."""
    with ExitStack() as both:
        if certificate is not None:
            # File names from the shell may hold lone surrogates, which UTF-8 has no bytes for.
            both.enter_context(atomic_path(certificate)).write_bytes(text.encode("utf-8", "replace"))
        both.enter_context(atomic_path(path)).write_bytes(model)


def _measure_effect(
    source: Model, plan: SlimPlan, path: Path, unseen: Sequence[UnseenChannels]
) -> tuple[Difference, ...]:
    """What cutting channels without proof does to made-up pictures."""
    if not unseen:
        return ()
    _try_plan(source, plan, path, unseen)
    return measure_differences(source, _open_like(source, path), iterate_shown(source, ()), list_kept(plan))


def _choose_pictures(data: Any, also_unseen: bool, say: Note) -> list[Path]:
    """The pictures of --data that can be opened; --also-unseen needs some."""
    if also_unseen and (data is None or (not isinstance(data, str | os.PathLike) and not len(data))):
        raise UsageError("--also-unseen cuts what never changes on pictures", "give them with --data DIR")
    if data is None:
        return []
    if isinstance(data, str | os.PathLike):
        given = Path(data)
        found = find_images(given) if given.is_dir() else [given] if given.is_file() else []
        if not found:
            raise ImageError(f"{given} holds no pictures", "give --data a folder of JPEG, PNG, WebP, BMP or TIFF")
    else:
        found = [Path(path) for path in data]
    good = []
    for path in found:
        try:
            open_image(path)
        except ImageError as error:
            say(f"skipped: {error.message}")
        else:
            good.append(path)
    if not good:
        raise ImageError(f"none of {len(found)} pictures could be read")
    return good


def _try_plan(source: Model, plan: SlimPlan, path: Path, unseen: Sequence[UnseenChannels]) -> onnx.ModelProto:
    """Write a plan's file, and open it to see that every layer is called as it was."""
    cut = cut_graph(plan)
    for named in (False, True):
        made = finish_slim(source, plan, cut, unseen, named)
        try:
            onnx.checker.check_model(made)
            path.unlink(missing_ok=True)
            path.write_bytes(made.SerializeToString())
        except Exception as error:  # C++ error types of the onnx package, and what is above protobuf's 2 GB
            raise SlimError(f"the smaller form of {source.path} is no valid model: {error}") from None
        there = {name for node in made.graph.node for name in node.output}
        names = {layer.tensor: layer.name for layer in _open_like(source, path).layers}
        if all(names.get(layer.tensor) == layer.name for layer in source.layers if layer.tensor in there):
            break
    return made


def _open_like(source: Model, path: Path) -> Model:
    """The trial, opened as the source was."""
    options = {**source.graph.opening, "allow_links": ()}
    try:
        opened: Model = open_model(path, provider=source.provider, threads=source.threads, **options)
    except ModelError as error:
        raise SlimError(f"the smaller form of {source.path} cannot be opened: {error.message}") from None
    return opened


def list_kept(plan: SlimPlan) -> dict[str, tuple[int, NDArray[np.int64]]]:
    """The outputs that lose channels: their axis, and the channels that stay."""
    found = {}
    for name in plan.graph.outputs:
        keep = plan.keep_of(name)
        if keep is not None:
            found[name] = (plan.found.channels[name].axis, keep)
    return found


def check_differences(source: Model, found: Sequence[Difference]) -> None:
    """Raise SlimError for an output that is too far off."""
    for each in found:
        if not each.ok:
            raise SlimError(
                f"output {each.output!r} of {source.path} would differ by {each.max_abs:.3g} at a scale of "
                f"{each.scale:.3g} on {each.picture}; nothing was written",
                "give --provider cpu; a network in half precision, or one that adds up floats before QuantizeLinear, "
                "rounds by more than what is let pass",
            )


def _sum_up(source: Model, plan: SlimPlan, made: onnx.ModelProto, found: tuple[Difference, ...]) -> SlimmedModel:
    names = {layer.tensor: layer.name for layer in source.layers}

    def to_layers(parts: Sequence[CutChannels]) -> tuple[LayerChannels, ...]:
        return tuple(LayerChannels(names.get(x.tensor, x.tensor), x.channels, x.why, x.bounds) for x in parts)

    data = made.SerializeToString()
    before = sum(int(np.prod(t.dims)) for t in plan.graph.initializers.values())
    after = sum(int(np.prod(t.dims)) for t in made.graph.initializer)
    return SlimmedModel(
        path=Path(), sha256=hashlib.sha256(data).hexdigest(), bytes_before=source.graph.size, bytes_after=len(data),
        parameters_before=before, parameters_after=after,
        nodes_before=len(plan.graph.nodes), nodes_after=len(made.graph.node),
        cut=to_layers(plan.cut), kept=to_layers(plan.kept), differences=found,
    )  # fmt: skip

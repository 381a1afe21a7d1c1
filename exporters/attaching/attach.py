"""A copy of a model that says more in the one run that is made of it anyway."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from exporters.attaching.agree import check_rows, compare_outputs, make_noise
from exporters.attaching.boxes import attach_box_map
from exporters.attaching.calibration import attach_probability
from exporters.attaching.finish import finish_attached
from exporters.attaching.maps import attach_maps, find_formula
from exporters.attaching.pictures import find_known_pictures
from exporters.attaching.result import AttachedModel
from exporters.attaching.saliency import attach_saliency, parse_saliency
from exporters.attaching.unknown import attach_unknown
from exporters.attaching.workbench import open_workbench
from inspector.cam import finds_boxes
from inspector.errors import UsageError
from inspector.files import atomic_path, temporary_folder
from inspector.guard import check_outputs
from inspector.model import Model, drop_false_classes, open_model

Folder = str | os.PathLike[str]
_RATE = 0.05
"""False alarms that are let pass where no rate is given."""


# Wide: the keyword-only parameters are the options of `inspector attach`.
# Long: nearly half is the description of its parameters.
def attach_outputs(
    model: str | os.PathLike[str] | Model,
    path: str | os.PathLike[str],
    *,
    cam: str | None = None,
    layer: str | None = None,
    all_classes: bool | None = None,
    calibrate: Folder | None = None,
    unknown: Folder | None = None,
    outliers: Folder | None = None,
    false_alarms: float | None = None,
    saliency: str | None = None,
    provider: str = "auto",
    threads: int | None = None,
) -> AttachedModel:
    """Write a copy of a model with further outputs behind its own, measured, or write nothing.

    Args:
        model: The model, or its file.
        path: The file to write.
        cam: A method of class activation maps that is made of gradients.
        layer: The layer that it looks at, of a classifier; None chooses as `inspector cam` does.
        all_classes: Whether the maps of all classes are added where they are one product; None adds them where they
            make a run at most about a tenth longer.
        calibrate: Labelled pictures in folders named after classes; adds calibrated probabilities.
        unknown: Pictures such as the network is for; adds how little each picture looks like them.
        outliers: Pictures such as it is not for, to choose by and to measure on.
        false_alarms: The share of known pictures that may lie above the threshold, in (0, 1); None is 0.05.
        saliency: ``gradient``, ``smoothgrad[:STEPS]`` or ``integrated[:STEPS]``; adds the gradient of the top score.
        provider: What onnxruntime computes with, see :func:`inspector.open_model`; auto takes that of an open model.
        threads: How many threads it uses; None takes those of an open model, or else its own choice.

    Returns:
        The file that was written, and how near its outputs are to what the library computes.

    Raises:
        UsageError: Nothing was asked for, an option is wrong, or it needs another one.
        NotComputable: The network has no such output, or an operator has no derivative as nodes.
        LayerNotFound: There is no such layer.
        ModelError: The model cannot be read or run.
        AttachError: The file cannot be made.
        OutputError: The file cannot be written.

    Example:
        >>> made = attach_outputs(model, folder / "more.onnx", cam="gradcam")
        >>> [output.name for output in made.outputs]
        ['cam', 'cam_classes']
    """
    check_attached_options(cam, layer, all_classes, calibrate, unknown, outliers, false_alarms, saliency)
    source = model if isinstance(model, Model) else open_model(model, provider=provider, threads=threads)
    source = drop_false_classes(source)
    check_outputs({"-o": path}, {"the model itself": source.graph.files})
    notes: list[str] = []
    figures: dict[str, dict[str, Any]] = {}
    if source.attached is not None:
        names = ", ".join(entry.name for entry in source.attached.entries)
        notes.append(f"{source.path} has attached outputs already ({names}); they are left out")
    bench = open_workbench(source)
    if cam is not None:
        if finds_boxes(source):
            for option, value in (("--layer", layer), (_name_classes(all_classes), all_classes)):
                if value is not None:
                    raise UsageError(
                        f"{option} is for classifiers: a box is looked at where its scale begins", "leave it out"
                    )
            attach_box_map(bench, cam)
        else:
            notes += attach_maps(bench, cam, layer, all_classes)
    if calibrate is not None:
        figures["calibration"], more = attach_probability(bench, calibrate)
        notes += more
    if unknown is not None:
        figures["unknown"], more = attach_unknown(
            bench, unknown, outliers, _RATE if false_alarms is None else false_alarms
        )
        notes += more
    if saliency is not None:
        attach_saliency(bench, saliency)
    data = finish_attached(bench).SerializeToString()
    with temporary_folder() as folder:
        trial = folder / "trial.onnx"
        trial.write_bytes(data)
        own = source.provider if provider == "auto" else provider
        made = open_model(trial, provider=own, threads=threads or source.threads, inputs=source.graph.given)
        rows = compare_outputs(source, made, bench.outputs, make_noise(source))
        check_rows(rows, source, bench.outputs)
        digest = made.sha256
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
    return AttachedModel(Path(path), digest, tuple(bench.outputs), tuple(rows), figures, tuple(notes))


def _name_classes(all_classes: bool | None) -> str:
    """The option as it was given."""
    return "--no-all-classes" if all_classes is False else "--all-classes"


# Wide: one for each option.
def check_attached_options(
    cam: str | None,
    layer: str | None,
    all_classes: bool | None,
    calibrate: Folder | None,
    unknown: Folder | None,
    outliers: Folder | None,
    false_alarms: float | None,
    saliency: str | None,
) -> None:
    """Check what can be said wrong of the options of :func:`attach_outputs` before a model is opened.

    Raises:
        UsageError: Nothing was asked for, there is no such thing, or an option needs one that is missing.
        NotComputable: The method cannot be written as nodes.
        ImageError: A folder holds no pictures.
    """
    given = (
        ("--layer", layer, "--cam METHOD", cam), (_name_classes(all_classes), all_classes, "--cam METHOD", cam),
        ("--outliers", outliers, "--unknown DIR", unknown), ("--false-alarms", false_alarms, "--unknown DIR", unknown),
    )  # fmt: skip
    for option, value, other, needed in given:
        if value is not None and needed is None:
            raise UsageError(f"{option} does nothing without {other.split()[0]}", f"give {other} too, or leave it out")
    if all(option is None for option in (cam, calibrate, unknown, saliency)):
        raise UsageError("nothing was asked for", "give --cam, --calibrate, --unknown or --saliency")
    if cam is not None:
        find_formula(cam)
    if saliency is not None:
        parse_saliency(saliency)
    if false_alarms is not None and not 0 < false_alarms < 1:
        raise UsageError(
            f"false alarms {false_alarms} is not between 0 and 1", "0.05 alarms one known picture in twenty"
        )
    for option, folder in (("--calibrate", calibrate), ("--unknown", unknown), ("--outliers", outliers)):
        if folder is not None:
            find_known_pictures(folder, option)

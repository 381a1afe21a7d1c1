"""Outputs attached to a model: what a device should know beside the scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inspector.api.arguments import ModelSource, Warn, check_arguments
from inspector.api.model import to_model

if TYPE_CHECKING:
    from exporters.attaching import AttachedModel
    from inspector.api.make import File


# Wide: the options of `inspector attach`.
@check_arguments
def attach(
    model: ModelSource,
    out: File,
    *,
    cam: str | None = None,
    layer: str | None = None,
    all_classes: bool | None = None,
    calibrate: File | None = None,
    unknown: File | None = None,
    outliers: File | None = None,
    false_alarms: float | None = None,
    saliency: str | None = None,
    provider: str = "auto",
    threads: int | None = None,
    warn: Warn | None = None,
) -> AttachedModel:
    """Write a copy of a model that gives more than scores in the one run that is made of it anyway.

    Standard operators only, behind the model's own outputs, which stay as they are. Needs no torch.

    Args:
        model: The path of an .onnx file, or a model that is open.
        out: The file to write.
        cam: Add the map of the top class by this method: cam, gradcam, gradcam++, hirescam, layercam or xgradcam; and
            the maps of all classes where they are one product.
        layer: The layer of the map; None chooses as `inspector cam` does.
        all_classes: Whether the maps of all classes are added; None adds them where they make a run at most about a
            tenth longer, by the multiply-adds of both.
        calibrate: Labelled pictures that the network was not trained on, in folders named after classes: adds
            calibrated probabilities, by one temperature.
        unknown: Pictures such as the network is for: adds a number that is large where a picture looks unlike them.
        outliers: Pictures such as it is not for, by which the way to this number is chosen and measured.
        false_alarms: The share of known pictures that may lie above its threshold, in (0, 1); None is 0.05.
        saliency: Adds the gradient of the top score with respect to the input: ``gradient``, ``smoothgrad[:STEPS]`` or
            ``integrated[:STEPS]``.
        provider: Where a path is given: auto, cpu, cuda, ...
        threads: Where a path is given: threads of onnxruntime; None takes all cores.
        warn: Gets a line where something is noteworthy but not wrong.

    Returns:
        The file that was written, its new outputs, and how near they are to what the library computes.

    Raises:
        InspectorError: The model cannot be opened, an output cannot be had of it, or the file cannot be written.

    Example:
        >>> import inspector
        >>> made = inspector.attach(model, folder / "more.onnx", cam="gradcam")
        >>> [output.name for output in made.outputs]
        ['cam', 'cam_classes']
    """
    from exporters.attaching import attach_outputs, check_attached_options

    check_attached_options(cam, layer, all_classes, calibrate, unknown, outliers, false_alarms, saliency)
    opened = to_model(model, provider, threads, warn)
    return attach_outputs(
        opened, out, cam=cam, layer=layer, all_classes=all_classes, calibrate=calibrate, unknown=unknown,
        outliers=outliers, false_alarms=false_alarms, saliency=saliency, provider=opened.provider,
        threads=opened.threads,
    )  # fmt: skip

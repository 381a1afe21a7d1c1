"""Files made from a model or for one: annotated, quantized, exported, fine-tuned."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast

from exporters.planning.options import CACHE_LIMIT
from inspector.api.arguments import ModelSource, Warn, check_arguments
from inspector.api.model import to_model
from inspector.errors import UsageError, check_whole, wrong_type
from inspector.extras import import_from_here, prepare_torch

if TYPE_CHECKING:
    from typing import Unpack

    from torch import nn

    from exporters.exporting import Exported
    from exporters.finetuning.result import FineTuneResult
    from exporters.planning.plan import FineTunePlan
    from exporters.quantizing import QuantizedModel
    from inspector.api.model import Model
    from inspector.image import ImageSource, Preprocess

File = str | os.PathLike[str]


# Wide: the options of `inspector annotate`.
# Long: each of them is explained.
@check_arguments
def annotate(
    model: ModelSource,
    out: File,
    *,
    preprocess: str | Preprocess | None = None,
    labels: File | Sequence[str] | None = None,
    cam_layer: str | None = None,
    size: str | tuple[int, int] | None = None,
    activation: str | None = None,
    output: str | None = None,
    task: str | None = None,
    head: str | None = None,
    provider: str = "auto",
    threads: int | None = None,
    allow_links: Sequence[File] = (),
    inputs: Mapping[str, Any] | None = None,
    warn: Warn | None = None,
) -> Model:
    """Write preprocess, labels and layer names into a copy of a model; the network itself stays byte for byte.

    What is not given is kept from the file's own metadata, or written as it had to be assumed.

    Args:
        model: The path of an .onnx file, or a model that is open; the values of second inputs that it was opened with
            are written too.
        out: The file to write.
        preprocess: imagenet, unit, signed, caffe, raw, a JSON file with its keys, or a Preprocess.
        labels: The class names, or a file of them: one a line, or JSON.
        cam_layer: The layer that class activation maps look at.
        size: (height, width) of the input or "HxW", for a model that leaves it open.
        activation: What makes probabilities of the scores: softmax, sigmoid (many labels) or none.
        output: The output, or any tensor or layer, that holds the scores of the classes.
        task: What the outputs mean: classify, detect, segment, pose, embed or picture.
        head: The head that the outputs are those of, such as yolov8; an unknown one is refused with the known.
        provider: auto, cpu, cuda, ...
        threads: Threads of onnxruntime; None takes all cores.
        allow_links: Where a path is given: folders that links to external data may lead into.
        inputs: Where a path is given: values of the inputs that are no picture, by name. They are written into the
            copy, and whoever opens it gets them.
        warn: Gets a line where something is noteworthy but not wrong.

    Returns:
        The copy, opened.

    Raises:
        InspectorError: The model cannot be opened, an argument is wrong, or the file cannot be written.

    Example:
        >>> import inspector
        >>> named = inspector.annotate(model, folder / "named.onnx", preprocess="signed")
        >>> named.preprocess.mean
        (0.5, 0.5, 0.5)
    """
    from inspector.api.model import Model
    from inspector.model.annotate import annotate_model, open_to_annotate

    if isinstance(model, str | os.PathLike):
        # Also where the metadata in the file is damaged.
        options: dict[str, Any] = {"allow_links": allow_links, "inputs": inputs or {}, "warn": warn, "cls": Model}
        opened = cast(Model, open_to_annotate(model, provider=provider, threads=threads, **options))
    else:
        opened = to_model(model, provider, threads, warn)
    written = annotate_model(
        opened, out, preprocess=preprocess, labels=labels, cam_layer=cam_layer, size=size, activation=activation,
        output=output,
        task=task, head=head,
    )  # fmt: skip
    return to_model(written)


# Wide: the options of `inspector quantize`.
@check_arguments
def quantize(
    model: ModelSource,
    out: File,
    calibrate: File | Sequence[File],
    *,
    to: str = "int8",
    keep: str | Sequence[str] = (),
    auto: bool = False,
    target: float = 0.95,
    expose: str = "free",
    reduce_range: bool = False,
    pictures: int = 200,
    provider: str = "auto",
    threads: int | None = None,
    warn: Warn | None = None,
) -> QuantizedModel:
    """Write an int8 or fp16 variant of a model with its layer names and metadata, measured against the model.

    Args:
        model: The path of an .onnx file, or a model that is open.
        out: The file to write.
        calibrate: A folder of pictures like those that the model is for, or their paths; 50 to 200 do.
        to: ``int8`` or ``fp16``.
        keep: Layers that stay in float.
        auto: Keep more layers in float, the worst first, until `target` is reached.
        target: Agreement of the top class that `auto` reaches, in (0, 1].
        expose: Layers to expose: ``free`` (those that cost no speed), ``all`` or ``none``.
        reduce_range: 7 bits for weights: for x86 machines without VNNI.
        pictures: Pictures used at most.
        provider: Where a path is given: auto, cpu, cuda, ...
        threads: Where a path is given: threads of onnxruntime; None takes all cores.
        warn: Gets a line where something is noteworthy but not wrong.

    Returns:
        The file that was written, and what it cost in every layer.

    Raises:
        InspectorError: The model cannot be opened or quantized, an argument is wrong, or the file cannot be written.

    Example:
        >>> import inspector
        >>> made = inspector.quantize(model, folder / "half.onnx", "docs/chelsea.jpg", to="fp16")
        >>> made.bytes_before > 1.9 * made.bytes_after
        True
    """
    from exporters.quantizing import quantize_model

    check_whole("pictures", pictures, 1)
    opened = to_model(model, provider, threads, warn)
    paths = [calibrate] if isinstance(calibrate, str | os.PathLike) and Path(calibrate).is_file() else calibrate
    return quantize_model(
        opened, out, paths, to=to, keep=(keep,) if isinstance(keep, str) else keep, auto=auto, target=target,
        expose=expose, reduce_range=reduce_range, pictures=pictures, note=warn,
    )  # fmt: skip


# Wide: the options of `inspector export`.
# Long: each of them is explained.
@check_arguments
def export(
    source: str | nn.Module,
    out: File,
    *,
    weights: File | None = None,
    pretrained: bool = False,
    labels: File | Sequence[str] | None = None,
    preprocess: str | Preprocess | None = None,
    size: int | tuple[int, int] | None = None,
    expose: str | Sequence[str] = "features",
    activation: str | None = None,
    opset: int | None = None,
    image: ImageSource | None = None,
) -> Exported:
    """Export a torch network to one .onnx file: named layers, preprocess and labels inside, every layer checked.

    Every exposed layer is compared between torch and onnxruntime on a picture; a difference above 1e-3 of the layer's
    scale fails the export and writes nothing. Needs torch.

    Args:
        source: ``torchvision:NAME``, ``timm:NAME``, ``package.module:factory``, a run folder of `finetune` or one of
            its checkpoints; or a torch module, which needs `preprocess`.
        out: The file to write.
        weights: A safetensors file or a saved state dict. Without weights they are random.
        pretrained: Take the library's own weights, which the library downloads.
        labels: The class names, or a file of them: one a line, or JSON.
        preprocess: Instead of the library's own: imagenet, unit, signed, caffe, raw, a JSON file, or a Preprocess.
        size: Side of the input in pixels, or (height, width).
        expose: Layers that become graph outputs: ``features``, ``all``, or names.
        activation: What makes probabilities of the scores: softmax, sigmoid or none.
        opset: Version of the operator set, 18 to 23; None takes the usual one.
        image: The picture for the comparison; None takes a photograph of this project.

    Returns:
        The file that was written, and how near each layer is.

    Raises:
        MissingExtra: Torch is not installed.
        InspectorError: The network cannot be had or exported, an argument is wrong, or the file cannot be written.

    Example:
        >>> import inspector
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
        >>> preprocess = inspector.Preprocess.named("unit", (32, 32))
        >>> made = inspector.export(net, folder / "small.onnx", preprocess=preprocess, labels=["cat", "dog"])
        >>> all(row.ok for row in made.parity)
        True
    """
    prepare_torch()
    import_from_here()
    from exporters.exporting import export_onnx
    from exporters.sources import load_source
    from inspector.image import Preprocess as AnyPreprocess
    from inspector.metadata import ACTIVATIONS

    if activation is not None and activation not in ACTIVATIONS:
        raise UsageError(f"there is no activation {activation!r}", f"known: {', '.join(ACTIVATIONS)}")
    options: dict[str, Any] = {"expose": expose, "image": image, "activation": activation}
    if opset is not None:
        options["opset"] = opset
    sides = (size, size) if isinstance(size, int) else size
    if not isinstance(source, str):
        if not hasattr(source, "state_dict"):
            raise wrong_type("a network", source, "give torchvision:NAME, timm:NAME, module:factory, or a torch module")
        if not isinstance(preprocess, AnyPreprocess):
            raise UsageError("a torch module says nothing about its input", "give preprocess as a Preprocess")
        names = cast("Sequence[str] | None", labels)
        fitted = preprocess if sides is None else preprocess.with_size(sides)
        return export_onnx(source, out, preprocess=fitted, labels=names, **options)
    if Path(source).is_dir() or source.endswith(".safetensors"):
        return _export_run(source, out)
    loaded = load_source(
        source, weights=weights, pretrained=pretrained, preprocess=preprocess, labels=labels, size=sides
    )
    return export_onnx(loaded, out, **options)


def _export_run(source: str, out: File) -> Exported:
    """A run folder or a checkpoint of it: its weights in the graph that it was trained from."""
    from exporters.exporting import Exported
    from exporters.finetuning import export_run

    model = export_run(source, out)
    return Exported(model.path, model.sha256, model.graph.size, tuple(model.layers), (), model.metadata, "")


class FineTuneSettings(TypedDict, total=False):
    """The choices of a fine-tuning run; their defaults and meanings stand in FineTuneOptions."""

    unfreeze_from: str | None
    unfreeze_last: int | None
    head_epochs: int
    joint_epochs: int
    head_rate: float
    joint_rate: float
    lowest_rate: float
    batch: int
    weight_decay: float
    label_smoothing: float
    dropout: float
    mixup: float
    average: float
    schedule: str
    balance: str
    select: str
    patience: int | None
    augment: tuple[str, ...]
    versions: int
    augment_seed: int
    poses: tuple[str, ...]
    val: float
    test: float
    size: tuple[int, int] | None
    seed: int
    cache_dtype: str
    precision: str
    norms: str
    devices: int


# Wide: the options of `inspector finetune`.
# Long: each of them is explained.
@check_arguments
def finetune(
    data: File,
    base: File,
    out: File,
    *,
    weights: str | None = None,
    pretrained: bool = False,
    allow_links: Sequence[File] = (),
    inputs: Mapping[str, Any] | None = None,
    resume: bool = False,
    cache: File | None = None,
    cache_limit: float = CACHE_LIMIT,
    tensorboard: bool = False,
    provider: str = "auto",
    threads: int | None = None,
    warn: Warn | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
    **settings: Unpack[FineTuneSettings],
) -> FineTuneResult:
    """Fine-tune a base on labelled pictures: new head, base frozen, head trained, layers unfrozen, joint training.

    Needs torch. The run folder gets the plan, the figures, the curves, the worst mistakes, checkpoints and model.onnx.

    Args:
        data: A folder of class folders, or a CSV of path,label[,split][,weight][,group].
        base: The pretrained network: an .onnx classifier; a detector or segmenter, whose backbone is taken; or a source
            as `export` takes it.
        out: The run folder.
        weights: A safetensors file or a saved state dict for a source.
        pretrained: Take the library's own weights of a source.
        allow_links: Folders that links to the external data of an .onnx file may lead into.
        inputs: Values of the inputs of an .onnx file that are no picture, by name.
        resume: Go on with a run that was stopped.
        cache: Folder where the activations of the frozen part are kept; None takes the user's cache folder.
        cache_limit: Gigabytes that the cache of all runs may take.
        tensorboard: Also write event files; needs the extra tensorboard.
        provider: auto, cpu, cuda, ...
        threads: Threads of onnxruntime and torch; None leaves their own choice.
        warn: Gets a line where something is noteworthy but not wrong.
        on_progress: Called with what is being done, how much of it is done, and how much there is.
        **settings: The choices of the run, such as ``head_epochs=10``; see FineTuneSettings.

    Returns:
        The run: its plan, the best epoch, the test if there was one, and the path of the .onnx.

    Raises:
        MissingExtra: Torch is not installed.
        InspectorError: Data, base or options are wrong, or something cannot be written.

    Example:
        >>> import inspector
        >>> made = inspector.finetune(  # doctest: +SKIP
        ...     "photographs", "models/efficientnet-lite0.onnx", "runs/first", head_epochs=10
        ... )
        >>> made.best["accuracy"]  # doctest: +SKIP
        0.97
    """
    prepare_torch()
    import_from_here()
    from exporters.finetuning import finetune as run

    return run(
        data, base, out, weights=weights, pretrained=pretrained, allow_links=allow_links, inputs=inputs,
        resume=resume, cache=cache, cache_limit=cache_limit, tensorboard=tensorboard, provider=provider,
        threads=threads, note=warn or (lambda line: None), progress=on_progress or (lambda what, done, total: None),
        **settings,
    )  # fmt: skip


@check_arguments
def plan_finetune(
    data: File,
    base: File,
    *,
    weights: str | None = None,
    pretrained: bool = False,
    allow_links: Sequence[File] = (),
    inputs: Mapping[str, Any] | None = None,
    warn: Warn | None = None,
    **settings: Unpack[FineTuneSettings],
) -> FineTunePlan:
    """Say what `finetune` would do with these arguments, and train nothing.

    Args:
        data: A folder of class folders, or a CSV of path,label[,split][,weight][,group].
        base: The pretrained network: an .onnx classifier; a detector or segmenter, whose backbone is taken; or a source
            as `export` takes it.
        weights: A safetensors file or a saved state dict for a source.
        pretrained: Take the library's own weights of a source.
        allow_links: Folders that links to the external data of an .onnx file may lead into.
        inputs: Values of the inputs of an .onnx file that are no picture, by name.
        warn: Gets a line where something is noteworthy but not wrong.
        **settings: The choices of the run, such as ``head_epochs=10``; see FineTuneSettings.

    Returns:
        The plan; its `text()` is for people.

    Raises:
        MissingExtra: Torch is not installed.
        InspectorError: Data, base or options are wrong.
    """
    prepare_torch()
    import_from_here()
    from exporters.finetuning import plan_finetune as plan

    more: dict[str, Any] = {"allow_links": allow_links, "inputs": inputs, "note": warn or (lambda line: None)}
    made, _ = plan(data, base, weights=weights, pretrained=pretrained, **more, **settings)
    return made

"""What a model makes of pictures, as files: sheets of activations, and maps of the evidence for a class."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from inspector.api.arguments import (
    ModelSource,
    Progress,
    Warn,
    check_arguments,
)
from inspector.api.model import to_model
from inspector.api.pictures import Picture, Pictures, Results, collect, find_pictures, handle_pictures
from inspector.errors import check_whole
from inspector.records import record

if TYPE_CHECKING:
    from types import TracebackType

    from inspector.api.model import Model
    from inspector.cam import CamResult
    from inspector.layers import LayerNames
    from inspector.pages.gallery import Gallery
    from inspector.pages.overlays import DrawnMap


@record
class ActivationOptions:
    """How activations are drawn; see :func:`draw_activations`."""

    layers: LayerNames | None = None
    channel: int | None = None
    scale: str = "channel"
    colormap: str = "viridis"
    size: int = 448
    save_arrays: bool = False


class ActivationRun:
    """Draws the activations of picture after picture; at the end of the block it writes a page that leads to all.

    Attributes:
        index: That page; None while there is none, and for a single picture.
    """

    def __init__(self, model: Model, out: str | os.PathLike[str], options: ActivationOptions) -> None:
        from inspector.pages.folders import PictureFolders

        self.model = model
        self.options = options
        self.index: Path | None = None
        self._chosen = None if options.layers is None else model.choose_layers(options.layers)
        self._folders = PictureFolders(out)

    def draw(self, picture: Picture) -> Gallery:
        """Draw one picture into a folder of its own."""
        from inspector.image import read_if_open
        from inspector.pages.gallery import draw_gallery

        x, source = self.options, read_if_open(picture.source)
        with self._folders.claim(source, picture.stem, picture.name) as folder:
            return draw_gallery(
                self.model, source, folder, name=picture.name, layers=self._chosen, channel=x.channel,
                scale=x.scale, colormap=x.colormap, size=x.size, save_arrays=x.save_arrays,
            )  # fmt: skip

    def __enter__(self) -> ActivationRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # One page for all of them, also for those that were done when something ended the run.
        self.index = self._folders.write_index(self.model)


# Wide: the options of `inspector activations`.
@check_arguments
def draw_activations(
    model: ModelSource,
    images: Pictures,
    out: str | os.PathLike[str] = "inspector-out",
    *,
    layers: LayerNames | None = None,
    channel: int | None = None,
    scale: str = "channel",
    colormap: str = "viridis",
    size: int = 448,
    save_arrays: bool = False,
    provider: str = "auto",
    threads: int | None = None,
    warn: Warn | None = None,
    on_progress: Progress | None = None,
) -> Results[Gallery]:
    """Draw the activations of every layer and channel, with statistics and a page to open first.

    `Model.activations` gives the values themselves.

    Args:
        model: The path of an .onnx file, or a model that is open.
        images: A picture or a folder of pictures, or several of either.
        out: The folder; each picture gets a folder in it.
        layers: A name (a unique ending will do) or a layer, or several of either; None means all layers.
        channel: Draw only this channel, large, beside the picture.
        scale: ``channel``: colors by each channel's range; ``layer``: by the layer's range; ``lecture``: by mean and
            standard deviation.
        colormap: viridis, magma, inferno, turbo, grey, diverging.
        size: Side of a single channel's picture, in pixels.
        save_arrays: Also write the values of each layer as .npy, float32.
        provider: Where a path is given: auto, cpu, cuda, ...
        threads: Where a path is given: threads of onnxruntime; None takes all cores.
        warn: Gets a line where something is noteworthy but not wrong.
        on_progress: Called after each picture with how many are done, and how many there are.

    Returns:
        What was drawn for each picture; a notebook shows the sheets of channels. `skipped` lists the pictures that
        could not be used.

    Raises:
        InspectorError: The model cannot be opened, an argument is wrong, or no picture could be used.

    Example:
        >>> import inspector
        >>> [drawn] = inspector.draw_activations(model, "docs/chelsea.jpg", folder, layers="blocks.5.swish")
        >>> drawn.layers[0].shape, drawn.overview.name
        ((1, 240, 28, 28), 'index.html')
    """
    check_whole("size", size, 1)
    if channel is not None:
        check_whole("channel", channel, 0)
    opened = to_model(model, provider, threads, warn)
    options = ActivationOptions(layers, channel, scale, colormap, size, save_arrays)
    with ActivationRun(opened, out, options) as run:
        return collect(handle_pictures(find_pictures(images), run.draw, on_progress))


@record
class PictureMaps:
    """The class activation maps of one picture, as files.

    Attributes:
        path: How the picture is called.
        maps: One for each class.
        sheet: PNG of all maps; None where there is only one.
    """

    path: str
    maps: tuple[DrawnMap, ...]
    sheet: Path | None

    @property
    def results(self) -> tuple[CamResult, ...]:
        """The maps themselves."""
        return tuple(x.result for x in self.maps)

    def _repr_html_(self) -> str:
        from inspector.notebook import show_pictures

        return show_pictures([(x.result.target.label, x.overlay) for x in self.maps], self.path)


# Wide: the options of `inspector cam`.
# Long: each of them is explained.
@check_arguments
def draw_maps(
    model: ModelSource,
    images: Pictures,
    out: str | os.PathLike[str] = "inspector-out",
    *,
    classes: str | int | Sequence[str | int] | None = None,
    top: int | None = None,
    box: str | int | Sequence[int] | None = None,
    confidence: float | None = None,
    iou: float | None = None,
    side: str | None = None,
    method: str | None = None,
    layer: LayerNames | None = None,
    backend: str = "auto",
    output: str | None = None,
    masks: int = 1000,
    seed: int = 0,
    opacity: float | None = None,
    colormap: str | None = None,
    negative: bool = False,
    score: bool = False,
    region: Sequence[float] | str | None = None,
    mask: str | os.PathLike[str] | None = None,
    provider: str = "auto",
    threads: int | None = None,
    warn: Warn | None = None,
    on_progress: Progress | None = None,
) -> Results[PictureMaps]:
    """Draw where in pictures the evidence for a class or a box lies: class activation maps, as PNG and .npy.

    `Model.cam` gives the maps themselves.

    Args:
        model: The path of an .onnx file, or a model that is open.
        images: A picture or a folder of pictures, or several of either.
        out: The folder; each picture gets a folder in it.
        classes: Labels or indices, one map each; None takes the `top` most likely.
        top: How many classes where none is named, 1 or more, or how many boxes; None takes one class, five boxes.
        box: On a detector the number of a box in the order of `Model.detect`, the best being 0, several, or ``"all"``.
        confidence: Smallest score of a box, in [0, 1]; None takes that of the head.
        iou: Overlap in [0, 1] above which two boxes of a class show one object; None takes that of the head.
        side: ``left``, ``top``, ``right`` or ``bottom``: the place of that side of a box is explained, not its score.
        method: cam, gradcam, gradcam++, hirescam, xgradcam, layercam, eigencam, scorecam, ablationcam, reciprocam,
            drise. None takes layercam for boxes, gradcam else.
        layer: The layer to look at, or several whose maps are averaged; None chooses one.
        backend: ``auto`` takes torch only where it is needed, ``onnx`` never, ``twin`` always.
        output: What to explain where it is not the classifier: a tensor's name, with ``:INDEX`` for one value.
        masks: How many masks drise covers the picture with.
        seed: Of these masks.
        opacity: Of the map on the picture, in [0, 1]; None takes 0.4.
        colormap: viridis, magma, inferno, turbo, grey, diverging; None takes what suits.
        negative: Show evidence against the class too.
        score: Measure how faithful each map is (deletion, insertion, drop); `figures` of each map hold it.
        region: A box (x, y, width, height) in pixels of the picture; measure whether the evidence lies in it.
        mask: The same as a picture, white where the evidence should lie.
        provider: Where a path is given: auto, cpu, cuda, ...
        threads: Where a path is given: threads of onnxruntime; None takes all cores.
        warn: Gets a line where something is noteworthy but not wrong.
        on_progress: Called after each picture with how many are done, and how many there are.

    Returns:
        The maps of each picture; a notebook shows them over the picture. `skipped` lists the pictures that could not
        be used.

    Raises:
        InspectorError: The model cannot be opened, an argument is wrong, or no picture could be used.

    Example:
        >>> import inspector
        >>> [drawn] = inspector.draw_maps(model, "docs/chelsea.jpg", folder, classes="Egyptian cat")
        >>> drawn.maps[0].overlay.name
        'gradcam-285-Egyptian_cat.png'
    """
    from inspector.cam import prepare_maps
    from inspector.cam.boxes import BoxChoice, choose_box_numbers
    from inspector.cam.faithfulness import parse_region
    from inspector.image import read_if_open
    from inspector.pages import overlays
    from inspector.pages.folders import PictureFolders

    if top is not None:
        check_whole("top", top, 1)
    opened = to_model(model, provider, threads, warn)
    names = None if layer is None else [x.name for x in opened.choose_layers(layer)]
    choice = BoxChoice(choose_box_numbers(box), confidence, iou, side, masks, seed)
    sides = region if region is None or isinstance(region, str) else ",".join(str(one) for one in region)
    area = parse_region(sides, None if mask is None else Path(mask))
    engine = prepare_maps(opened, method, names, backend, output, choice, area)
    wanted = None if classes is None else [str(x) for x in ([classes] if isinstance(classes, str | int) else classes)]
    style = overlays.MapStyle(opacity, colormap, negative)
    folders = PictureFolders(out)

    def draw(picture: Picture) -> PictureMaps:
        source = read_if_open(picture.source)
        with folders.claim(source, picture.stem, picture.name) as folder:
            drawn = overlays.write_overlays(
                engine,
                source,
                folder,
                name=picture.name,
                classes=wanted,
                top=top,
                style=style,
                judge=score,
                region=area,
            )
        return PictureMaps(picture.path, drawn.maps, drawn.sheet)

    return collect(handle_pictures(find_pictures(images), draw, on_progress))

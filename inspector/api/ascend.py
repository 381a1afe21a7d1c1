"""What layers respond to, as pictures made by gradient ascent: filters and dreams."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inspector.api.arguments import ModelSource, Progress, Warn, check_arguments
from inspector.api.model import to_model
from inspector.api.pictures import Pictures, find_pictures
from inspector.errors import ImageError, UsageError, check_whole
from inspector.extras import prepare_torch

if TYPE_CHECKING:
    from inspector.api.model import Model
    from inspector.ascent import Dream
    from inspector.image import ImageSource
    from inspector.layers import Layer, LayerNames
    from inspector.pages.filter_files import FilterRun
    from inspector.receptive.patches import TopPatches

File = str | os.PathLike[str]


@dataclass(frozen=True)
class FilterResult:
    """What the channels of layers respond to.

    Attributes:
        run: The patterns, by layer; None where only patches were asked for.
        patches: Layer name -> the parts of real pictures that excite its channels most.
        patch_sheets: Layer name -> PNG of them.
    """

    run: FilterRun | None
    patches: Mapping[str, TopPatches]
    patch_sheets: Mapping[str, Path]

    def _repr_html_(self) -> str:
        from inspector.notebook import show_pictures

        sheets = self.run.sheets if self.run is not None else ()
        shown = [(x.layer.name, x.grid) for x in sheets if x.grid is not None]
        return show_pictures([*shown, *self.patch_sheets.items()])


# Wide: the options of `inspector filters`.
# Long: each of them is explained.
@check_arguments
def filters(
    model: ModelSource,
    layers: LayerNames | None = None,
    out: File = "inspector-out",
    *,
    channels: str | Sequence[int] = "0-63",
    classes: str | int | Sequence[str | int] | None = None,
    recipe: str = "clear",
    steps: int | None = None,
    size: int | None = None,
    seed: int = 0,
    from_images: Pictures | None = None,
    top: int = 9,
    patches_only: bool = False,
    variants: int = 1,
    neuron: bool = False,
    negative: bool = False,
    start: ImageSource | None = None,
    precision: str = "auto",
    batch: int | None = None,
    provider: str = "auto",
    threads: int | None = None,
    warn: Warn | None = None,
    on_progress: Progress | None = None,
) -> FilterResult:
    """Draw what each channel of a layer responds to: by gradient ascent, and as patches of real pictures.

    Patterns need torch, patches do not. What is finished is kept: the same call goes on where an earlier one stopped.

    Args:
        model: The path of an .onnx file, or a model that is open.
        layers: A name (a unique ending will do) or a layer, or several of either; ``all-blocks`` takes the last layer
            of each block.
        out: The folder to write into.
        channels: Their numbers, or a text as "0-63" or "all".
        classes: Labels or indices of classes instead of layers; of a detector the score at the middle place of its
            middle scale, of a segmenter its mean over all places.
        recipe: ``lecture`` (as it is taught) or ``clear`` (as it looks best).
        steps: Steps of the ascent; None takes the recipe's.
        size: Side of the pictures in pixels, 16 to 1024; None goes by what a unit of the layer sees.
        seed: Of the noise, 0 or more; the same seed gives the same pictures.
        from_images: Pictures, a folder of them, or the folder of a scan: also draw the patches that excite each channel
            most.
        top: Patches for each channel, 1 to 100.
        patches_only: Draw no patterns; needs no torch.
        variants: Different pictures of each channel, 1 to 16.
        neuron: The unit in the middle, not the whole map.
        negative: What silences the channel.
        start: Start from this picture instead of noise.
        precision: float32, bfloat16, or auto: the faster that looks the same.
        batch: Pictures at once; None goes by memory.
        provider: Of torch, and where a path is given of onnxruntime: auto, cpu, cuda, ...
        threads: Of torch, and where a path is given of onnxruntime; None leaves their own choice.
        warn: Gets a line where something is noteworthy but not wrong.
        on_progress: Called with how many steps are done, and how many there are.

    Returns:
        What was drawn. A notebook shows the sheets.

    Raises:
        MissingExtra: Patterns were asked for, and torch is not installed.
        InspectorError: The model cannot be opened, an argument is wrong, or a file cannot be written.

    Example:
        >>> import inspector
        >>> drawn = inspector.filters(model, "swish", folder, channels=[0, 1], steps=2, size=32)
        >>> [picture.channel for picture in drawn.run.sheets[0].pictures]
        [0, 1]
    """
    check_whole("top", top, 1, 100)
    check_whole("variants", variants, 1, 16)
    check_whole("seed", seed, 0)
    if patches_only and from_images is None:
        raise UsageError("patches_only needs pictures", "give from_images")
    if not patches_only:
        prepare_torch(threads)
    opened = to_model(model, "auto" if hasattr(model, "sha256") else provider, _threads(model, threads), warn)
    chosen, numbers = _choose(opened, layers, classes, channels)
    from inspector.cam.scores import asks_one_place
    from inspector.pages.filters import draw_filters

    neuron = neuron or (classes is not None and asks_one_place(opened))
    found = draw_filters(
        opened, out, chosen, channels=numbers, size=size, seed=seed, batch=batch, precision=precision,
        provider=provider, on_progress=on_progress or _ignore, patterns=not patches_only,
        pictures=None if from_images is None else _sources(from_images), top=top,
        **({} if patches_only else _patterns(recipe, steps, (neuron, negative, variants, start))),
    )  # fmt: skip
    patches, sheets = ({name: getattr(x, key) for name, x in found.patches.items()} for key in ("patches", "path"))
    return FilterResult(None if patches_only else found, patches, sheets)


def _threads(model: ModelSource, threads: int | None) -> int | None:
    """For onnxruntime, where the model is not open yet."""
    return None if hasattr(model, "sha256") else threads


def _choose(
    model: Model,
    layers: LayerNames | None,
    classes: str | int | Sequence[str | int] | None,
    channels: str | Sequence[int],
) -> tuple[list[Layer], list[int] | None]:
    """The layers and channels that are meant; None for all channels."""
    from inspector.cam.scores import find_class_channels
    from inspector.receptive import find_block_layers, parse_channels

    numbers = parse_channels(channels) if isinstance(channels, str) else list(channels)
    if classes is not None:
        if layers is not None:
            raise UsageError("classes and layers exclude each other", "classes takes the layer with the scores")
        names = [classes] if isinstance(classes, str | int) else list(classes)
        found, numbers = find_class_channels(model, names)
        return [found], numbers
    if layers is None:
        some = [x.name for x in model.layers[:: max(1, len(model.layers) // 3)]][:3]
        raise UsageError("no layer was given", f"give layers by name ({', '.join(some)}, ...) or all-blocks")
    if layers == "all-blocks":
        return list(find_block_layers(model)), numbers
    return list(model.choose_layers(layers)), numbers


def _ignore(done: int, total: int) -> None:
    """Nobody watches."""


def _patterns(recipe: str, steps: int | None, wanted: tuple[bool, bool, int, ImageSource | None]) -> dict[str, Any]:
    """The arguments of `draw_filters` about patterns."""
    from inspector.ascent import FilterObjective, find_recipe

    chosen = find_recipe(recipe)
    return {"recipe": chosen if steps is None else chosen.with_(steps=steps), "objective": FilterObjective(*wanted)}


def _sources(images: Pictures) -> dict[str, ImageSource] | str:
    """The pictures in which patches are sought, by their path; or the folder of a scan."""
    from inspector.scanning.kept import is_scan

    if is_scan(images):
        return str(images)
    pictures = list(find_pictures(images))
    if not pictures:
        raise ImageError("no pictures were given")
    if isinstance(pictures[0], ImageError):
        raise pictures[0]
    return {x.path: x.source for x in pictures if not isinstance(x, ImageError)}


@dataclass(frozen=True)
class DreamResult:
    """A dream that was written.

    Attributes:
        path: The picture.
        frames: How it came about, as .gif or .webp; None where it was not asked for.
        dream: The picture itself, its octaves, and what became of each layer.
    """

    path: Path
    frames: Path | None
    dream: Dream

    def _repr_png_(self) -> bytes:
        from inspector.notebook import to_png

        return to_png(self.dream.picture)


# Wide: the options of `inspector dream`.
# Long: each of them is explained.
@check_arguments
def dream(
    model: ModelSource,
    image: ImageSource,
    layers: LayerNames | Mapping[str, float],
    out: File | None = None,
    *,
    octaves: int | None = None,
    ratio: float = 1.4,
    steps: int = 20,
    rate: float = 1.5,
    jitter: int = 32,
    tile: int = 512,
    seed: int = 0,
    caricature: bool = False,
    frames: File | None = None,
    precision: str = "auto",
    provider: str = "auto",
    threads: int | None = None,
    warn: Warn | None = None,
    on_progress: Progress | None = None,
) -> DreamResult:
    """Amplify in a picture what layers of a model detect: DeepDream. Needs torch.

    Args:
        model: The path of an .onnx file, or a model that is open.
        image: A path, the bytes of a file, a PIL image, or a uint8 array (H, W, 3).
        layers: A name (a unique ending will do) or a layer, or several of either; or name -> weight.
        out: The file to write: PNG, JPEG or WebP; None takes inspector-out/dream-NAME.png.
        octaves: Sizes to work at; None goes by the picture's size.
        ratio: From one octave to the next, above 1.
        steps: Steps for each octave.
        rate: Length of a step, in 255ths of the range of pixels.
        jitter: Pixels that the picture is moved by at each step.
        tile: Large pictures are worked on in tiles of this side, in pixels.
        seed: 0 or more; the same seed gives the same picture.
        caricature: Exaggerate the picture's own activation, not all activation.
        frames: Also write how it came about, as .gif or .webp.
        precision: float32, bfloat16, or auto: the faster that looks the same.
        provider: Of torch, and where a path is given of onnxruntime: auto, cpu, cuda, ...
        threads: Of torch, and where a path is given of onnxruntime; None leaves their own choice.
        warn: Gets a line where something is noteworthy but not wrong.
        on_progress: Called with how many steps are done, and how many there are.

    Returns:
        The dream. A notebook shows it.

    Raises:
        MissingExtra: Torch is not installed.
        InspectorError: The model or picture cannot be opened, an argument is wrong, or a file cannot be written.

    Example:
        >>> import inspector
        >>> made = inspector.dream(model, "docs/chelsea.jpg", "blocks.1.swish", folder / "a.png", octaves=1, steps=1)
        >>> made.dream.picture.size
        (451, 300)
    """
    prepare_torch(threads)
    from inspector.pages.dreams import draw_dream

    check_whole("steps", steps, 1)
    check_whole("seed", seed, 0)
    opened = to_model(model, "auto" if hasattr(model, "sha256") else provider, _threads(model, threads), warn)
    weights = layers if isinstance(layers, Mapping) else dict.fromkeys(opened.choose_layers(layers), 1.0)
    chosen = [(opened.layer(layer), float(weight)) for layer, weight in weights.items()]
    name = Path(image).stem if isinstance(image, str | os.PathLike) else "image"
    target = Path(out) if out is not None else Path("inspector-out") / f"dream-{name}.png"
    made = draw_dream(
        opened, image, chosen, target, frames=frames, octaves=octaves, ratio=ratio, steps=steps, rate=rate / 255,
        jitter=jitter, tile=tile, seed=seed, caricature=caricature, precision=precision, provider=provider,
        on_progress=on_progress or _ignore,
    )  # fmt: skip
    return DreamResult(made.path, made.frames, made.dream)

"""`inspector filters`: what each channel of a layer responds to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from inspector.cli.console import (
    Console,
    InputOption,
    JsonOption,
    LinksOption,
    ModelArgument,
    OutOption,
    ProviderOption,
    QuietOption,
    ThreadsOption,
    align_columns,
    find_given_pictures,
    progress_bar,
)
from inspector.cli.ends import Stopped
from inspector.cli.options import option
from inspector.errors import ImageError, LayerNotFound, UsageError
from inspector.extras import prepare_torch
from inspector.text import relative

if TYPE_CHECKING:
    from inspector.ascent import FilterObjective, Recipe
    from inspector.image import ImageSource
    from inspector.layers import Layer
    from inspector.model import Model
    from inspector.pages.filter_files import FilterRun
    from inspector.pages.filter_sheet import FilterSheet

_CHANNELS = "0-63"
_WHICH, _HOW, _WHAT, _PATCHES = "Layers and channels", "How it is made", "What patterns show", "Patches"


def filters(
    model: ModelArgument,
    layer: Annotated[
        list[str] | None,
        option("--layer", _WHICH, "A layer, by any unique ending; again for more; or all-blocks.", "NAME"),
    ] = None,
    channels: Annotated[
        str, option("--channels", _WHICH, "Which channels of each layer are drawn.", "0-63|all")
    ] = _CHANNELS,
    classes: Annotated[
        list[str] | None, option("--class", _WHICH, "A class instead of layer and channels; again for more.", "NAME")
    ] = None,
    recipe: Annotated[
        str, option("--recipe", _HOW, "Make patterns as it is taught, or as they look best.", "lecture|clear")
    ] = "clear",
    steps: Annotated[
        int | None, option("--steps", _HOW, "Steps of the ascent; the recipe's unless given.", "N", min=1)
    ] = None,
    size: Annotated[
        int | None,
        option("--size", _HOW, "Side of a pattern; by what a unit of the layer sees unless given.", "PX"),
    ] = None,
    seed: Annotated[int, option("--seed", _HOW, "Seed of the noise: same seed, same picture.", "N", min=0)] = 0,
    from_images: Annotated[
        str | None,
        option(
            "--from-images",
            _PATCHES,
            "Also draw the patches of pictures or of a scan that excite it most.",
            "DIR",
        ),
    ] = None,
    top: Annotated[int, option("--top", _PATCHES, "Number of patches for each channel.", "K", min=1, max=100)] = 9,
    patches_only: Annotated[
        bool, option("--patches-only", _PATCHES, "Draw patches and no patterns; needs no torch.")
    ] = False,
    variants: Annotated[
        int, option("--variants", _WHAT, "Number of different patterns of each channel.", "N", min=1, max=16)
    ] = 1,
    neuron: Annotated[
        bool, option("--neuron", _WHAT, "Excite the unit in the middle of the map, not the whole map.")
    ] = False,
    negative: Annotated[bool, option("--negative", _WHAT, "Show what silences a channel instead.")] = False,
    start: Annotated[str | None, option("--start", _WHAT, "Start from a picture instead of noise.", "IMAGE")] = None,
    keep: Annotated[
        str | None, option("--keep", _WHAT, "With --start: the picture stays the same to this layer.", "NAME[:WEIGHT]")
    ] = None,
    parametrisation: Annotated[
        str | None,
        option("--parametrisation", _HOW, "What is optimised; the recipe's unless given.", "pixels|fourier|phase"),
    ] = None,
    precision: Annotated[
        str,
        option(
            "--precision", _HOW, "Number format; auto takes the faster that looks the same.", "auto|float32|bfloat16"
        ),
    ] = "auto",
    batch: Annotated[
        int | None, option("--batch", _HOW, "Patterns made at once; by the free memory unless given.", "N", min=1)
    ] = None,
    out: OutOption = "inspector-out",
    links: LinksOption = None,
    inputs: InputOption = None,
    json: JsonOption = False,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Draw what each channel of a layer responds to: by gradient ascent, and as patches of real pictures.

    What is finished is kept: after Ctrl-C the same command goes on where it stopped.
    """
    from inspector.pages.filters import draw_filters

    console = Console("filters", json, quiet)
    opened = console.open(model, provider, threads, links, inputs)
    layers, numbers = choose_layers(console, opened, layer or [], classes or [], channels)
    neuron = neuron or wants_place(console, opened, layers, classes)
    patterns = wants_patterns(console, patches_only, from_images, threads) and _Patterns(
        choose_recipe(recipe, steps, parametrisation),
        parse_objective(console, opened, neuron, negative, variants, start, keep),
    )
    with progress_bar("filters", quiet) as move:
        run = draw_filters(
            opened, out, layers, channels=numbers, size=size, seed=seed, batch=batch, precision=precision,
            provider=provider, on_progress=move, pictures=find_sources(from_images), top=top,
            on_picture=lambda done, total: move(done, total, "pictures"), **_to_arguments(patterns),
        )  # fmt: skip
    tell(console, opened, layers, run, join_settings(patterns, recipe=recipe, seed=seed, steps=steps, size=size))


@dataclass(frozen=True)
class _Patterns:
    """How patterns are made; the fields are arguments of `draw_filters`."""

    recipe: Recipe
    objective: FilterObjective

    def settings(self) -> dict[str, Any]:
        """What the document says of them."""
        recipe = self.recipe
        return {
            "steps": recipe.steps,
            "parametrisation": recipe.parametrisation,
            "objective": self.objective.to_json(),
        }


def _to_arguments(patterns: _Patterns | Literal[False]) -> dict[str, Any]:
    """The arguments of `draw_filters` that say which patterns are made, if any."""
    return vars(patterns) if patterns else {"patterns": False}


def join_settings(patterns: _Patterns | Literal[False], **settings: Any) -> dict[str, Any]:
    """What the document says of how pictures were made."""
    return settings | (patterns.settings() if patterns else {})


def wants_patterns(console: Console, patches_only: bool, from_images: str | None, threads: int | None) -> bool:
    """Whether patterns are to be made; without torch only patches are, and only if they are asked for."""
    if patches_only and not from_images:
        raise UsageError("--patches-only needs pictures", "give --from-images DIR")
    if from_images and not Path(from_images).exists():
        raise UsageError(f"there is no folder {from_images}", "give --from-images a folder of pictures")
    if patches_only:
        return False
    if find_spec("torch") is None and from_images:
        console.note("torch is not installed: patches only, no patterns")
        return False
    prepare_torch(threads)
    return True


def find_sources(from_images: str | None) -> dict[str, ImageSource] | str | None:
    """The pictures in which patches are sought, by their path, or the folder of a scan; None where there are none."""
    from inspector.scanning.kept import is_scan

    if not from_images:
        return None
    if is_scan(from_images):
        return from_images
    pictures = list(find_given_pictures([from_images]))
    if isinstance(pictures[0], ImageError):
        raise pictures[0]
    return {p.path: p.source for p in pictures if not isinstance(p, ImageError)}


def choose_layers(
    console: Console, model: Model, names: Sequence[str], classes: Sequence[str], channels: str
) -> tuple[list[Layer], list[int] | None]:
    """The layers and channels that the options mean; None for all channels."""
    from inspector.cam.scores import find_class_channels
    from inspector.receptive import find_block_layers, parse_channels

    if classes:
        if names:
            raise UsageError("--class and --layer exclude each other", "--class takes the layer with the scores")
        found, numbers = find_class_channels(model, classes)
        return [found], numbers
    if not names:
        some = [x.name for x in model.layers[:: max(1, len(model.layers) // 3)]][:3]
        raise UsageError("no layer was given", f"give --layer with a name ({', '.join(some)}, ...) or all-blocks")
    chosen: list[Layer] = []
    for name in names:
        chosen += find_block_layers(model) if name == "all-blocks" else console.layers(model, [name])
    wanted = parse_channels(channels)
    if channels != _CHANNELS and wanted is not None:
        _note_missing(console, chosen, wanted)
    return list(dict.fromkeys(chosen)), wanted


def _note_missing(console: Console, layers: Sequence[Layer], numbers: Sequence[int]) -> None:
    """Say which of the channels asked for a layer does not have, where it has some of them."""
    for x in dict.fromkeys(layers):
        count = x.shape[1] if x.shape and len(x.shape) > 1 else None
        if isinstance(count, int) and any(n < count for n in numbers):
            over = sum(n >= count for n in numbers)
            if over:
                console.note(f"{x.name} has {count} channels; {over} of those asked for are beyond them")


def wants_place(console: Console, model: Model, layers: Sequence[Layer], classes: Sequence[str] | None) -> bool:
    """Whether a class is asked at one place, which is then said."""
    from inspector.cam.scores import asks_one_place

    if not classes or not asks_one_place(model):
        return False
    console.note(f"the score of a class at one place: the middle of {layers[0].name}, before the sigmoid")
    return True


def choose_recipe(name: str, steps: int | None, parametrisation: str | None) -> Recipe:
    """The recipe with what was changed of it."""
    from inspector.ascent.recipes import find_recipe

    changes = {"steps": steps, "parametrisation": parametrisation}
    return find_recipe(name).with_(**{key: value for key, value in changes.items() if value is not None})


def parse_objective(
    console: Console, model: Model, neuron: bool, negative: bool, variants: int, start: str | None, keep: str | None
) -> FilterObjective:
    """What is asked of each channel."""
    from inspector.ascent import FilterObjective

    if keep and not start:
        raise UsageError("--keep needs a picture to stay the same", "give --start IMAGE")
    kept = parse_weighted_layer(console, model, keep) if keep else None
    return FilterObjective(neuron, negative, variants, Path(start) if start else None, kept)


def parse_weighted_layer(console: Console, model: Model, text: str) -> tuple[Layer, float]:
    """`NAME` or `NAME:WEIGHT`; the weight is 1 unless given. TensorFlow's tensors have a colon in their names."""
    with suppress(LayerNotFound):
        return model.layer(text), 1.0
    name, colon, number = text.rpartition(":")
    try:
        weight = float(number) if colon else 1.0
    except ValueError:
        name, weight = text, 1.0
    if weight != weight or abs(weight) == float("inf"):
        raise UsageError(f"the weight of {text!r} is no number")
    [layer] = console.layers(model, [name if colon and name else text])
    return layer, weight


def tell(console: Console, model: Model, layers: Sequence[Layer], run: FilterRun, settings: Mapping[str, Any]) -> None:
    """Give out the document, or the same for people.

    Raises:
        Stopped: The run was interrupted.
    """
    for name, reason in next((sheet.patches.skipped for sheet in run.patches.values()), ()):
        console.note(f"skipped {name}: {reason}")
    entries = [document(x, run, settings) for x in layers]
    entries = [x for x in entries if x["channels"]] or entries[:1]
    more: dict[str, Any] = {"interrupted": run.interrupted}
    if run.overview is not None:
        more |= {"overview": relative(run.overview), "walk": relative(run.walk) if run.walk else None}
    if len(layers) > 1:
        more["layers"] = entries
    console.document(console.head(model, **entries[0], **more))
    if any(entry["channels"] for entry in entries):
        console.say(show(entries, more))
    if run.interrupted:
        any_done = any(channel["image"] for entry in entries for channel in entry["channels"])
        kept = "what is finished is kept, and" if any_done else "nothing was finished;"
        console.note(f"interrupted; {kept} the same command goes on from there")
        raise Stopped(130)


def document(layer: Layer, run: FilterRun, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What is said of one layer."""
    sheet = next((s for s in run.sheets if s.layer == layer), None)
    patches = run.patches.get(layer.name)
    made = {"layer": layer.name, **settings, "grid": None}
    if sheet is not None:
        made |= {
            "size": sheet.size[0] if sheet.size[0] == sheet.size[1] else list(sheet.size),
            "grid": relative(sheet.grid) if sheet.grid else None,
            "precision": sheet.precision,
        }
    found = patches.patches.patches if patches else {}
    if patches is not None:
        made |= {"patches": relative(patches.path), "pictures": patches.patches.seen}
    channels = build_pattern_entries(sheet) if sheet is not None else {c: {"channel": c, **_NO_PATTERN} for c in found}
    for number, entry in channels.items():
        if number in found:
            entry["patches"] = [
                {"image": p.image, "value": p.value, "position": list(p.position), "box": list(p.box)}
                for p in found[number]
            ]
    return {**made, "channels": list(channels.values())}


_NO_PATTERN: dict[str, Any] = {"activation_start": None, "activation": None, "image": None, "stuck": False}


def build_pattern_entries(sheet: FilterSheet) -> dict[int, dict[str, Any]]:
    """Channel -> its entry of `channels`."""
    return {
        p.channel: {
            "channel": p.channel,
            **({"label": p.label} if p.label else {}),
            "activation_start": p.activation_start,
            "activation": p.activation,
            "image": relative(p.image),
            **({"variants": [relative(v) for v in p.variants]} if p.variants else {}),
            "stuck": p.stuck,
            "reused": p.reused,
        }
        for p in sheet.pictures
    }


def show(entries: Sequence[Mapping[str, Any]], more: Mapping[str, Any]) -> str:
    """The same for people: a line per layer."""
    rows = []
    for x in entries:
        with_pattern = [c for c in x["channels"] if c["image"]]
        good = [c for c in with_pattern if not c["stuck"]]
        mean = [sum(c[key] for c in good) / len(good) if good else None for key in ("activation_start", "activation")]
        values = ["" if m is None else f"{m:.3g}" for m in mean]
        stuck, kept = sum(c["stuck"] for c in with_pattern), sum(bool(c.get("reused")) for c in with_pattern)
        rows.append((x["layer"], x["size"] or "", len(x["channels"]), kept or "", stuck or "", *values))
    headers = ("layer", "size", "channels", "reused", "stuck", "start", "end")
    lines = [align_columns(headers, rows, "size channels reused stuck start end"), ""]
    lines += [f"open {path}" for x in entries for path in (x["grid"], x.get("patches")) if path]
    return "\n".join([*lines, *(f"open {more[key]}" for key in ("overview", "walk") if more.get(key))])

"""`inspector filters`: what each channel of a layer responds to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inspector.cli.console import (
    Console,
    JsonOption,
    ModelArgument,
    OutOption,
    ProviderOption,
    QuietOption,
    Stopped,
    ThreadsOption,
    find_pictures,
    progress,
    relative,
    table,
)
from inspector.errors import ImageError, LayerNotFound, NotComputable, UsageError
from inspector.extras import prepare_torch

if TYPE_CHECKING:
    from inspector.ascent.filters import FilterRun, FilterSheet, Wish
    from inspector.ascent.recipes import Recipe
    from inspector.layers import Layer
    from inspector.model import Model
    from inspector.receptive.patches import TopPatches

Layers = Annotated[
    list[str] | None,
    typer.Option("--layer", metavar="NAME", help="A layer, by any unique ending; again for more; or all-blocks."),
]
Classes = Annotated[
    list[str] | None, typer.Option("--class", metavar="NAME", help="A class instead of channels; again for more.")
]
FromImages = Annotated[
    str | None, typer.Option("--from-images", metavar="DIR", help="Also the patches of pictures that excite each most.")
]
_CHANNELS = "0-63"
Precision = Annotated[
    str, typer.Option("--precision", metavar="auto|float32|bfloat16", help="auto: the faster that looks the same.")
]


def filters(
    model: ModelArgument,
    layer: Layers = None,
    channels: Annotated[str, typer.Option("--channels", metavar="0-63|all", help="Which channels.")] = _CHANNELS,
    classes: Classes = None,
    recipe: Annotated[
        str, typer.Option("--recipe", metavar="lecture|clear", help="As it is taught, or as it looks best.")
    ] = "clear",
    steps: Annotated[int | None, typer.Option("--steps", metavar="N", min=1, help="By the recipe.")] = None,
    size: Annotated[
        int | None, typer.Option("--size", metavar="PX", help="Canvas; by what a unit of the layer sees.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Same seed, same picture.")] = 0,
    from_images: FromImages = None,
    top: Annotated[int, typer.Option("--top", metavar="K", min=1, max=100, help="Patches for each channel.")] = 9,
    patches_only: Annotated[bool, typer.Option("--patches-only", help="No patterns; needs no torch.")] = False,
    variants: Annotated[
        int, typer.Option("--variants", metavar="N", min=1, max=16, help="Different pictures of each channel.")
    ] = 1,
    neuron: Annotated[bool, typer.Option("--neuron", help="The unit in the middle, not the whole map.")] = False,
    negative: Annotated[bool, typer.Option("--negative", help="What silences the channel.")] = False,
    start: Annotated[
        str | None, typer.Option("--start", metavar="IMAGE", help="Start from a picture instead of noise.")
    ] = None,
    keep: Annotated[
        str | None, typer.Option("--keep", metavar="NAME[:WEIGHT]", help="With --start: stay the same to this layer.")
    ] = None,
    parametrisation: Annotated[
        str | None, typer.Option("--parametrisation", metavar="pixels|fourier|phase", help="By the recipe.")
    ] = None,
    precision: Precision = "auto",
    batch: Annotated[
        int | None, typer.Option("--batch", metavar="N", min=1, help="Pictures at once; by memory.")
    ] = None,
    out: OutOption = "inspector-out",
    json: JsonOption = False,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Draw what each channel of a layer responds to: by gradient ascent, and as patches of real pictures.

    What is finished is kept: after Ctrl-C the same command goes on where it stopped.
    """
    console = Console("filters", json, quiet)
    opened = console.open(model, provider, threads)
    layers, numbers = choose_layers(console, opened, layer or [], classes or [], channels)
    pictures = not patches_only and wants_patterns(console, from_images)
    if patches_only and not from_images:
        raise UsageError("--patches-only needs pictures", "give --from-images DIR")
    if from_images and not Path(from_images).exists():
        raise UsageError(f"there is no folder {from_images}", "give --from-images a folder of pictures")
    if channels != _CHANNELS and numbers is not None:
        for x in layers:
            count = x.shape[1] if x.shape and len(x.shape) > 1 else None
            if (
                isinstance(count, int)
                and any(n < count for n in numbers)
                and (over := sum(n >= count for n in numbers))
            ):
                console.note(f"{x.name} has {count} channels; {over} of those asked for are beyond them")
    settings: dict[str, Any] = {"recipe": recipe, "seed": seed, "steps": steps, "size": size}
    run = None
    if pictures:
        prepare_torch(threads)
        chosen = choose_recipe(recipe, steps, parametrisation)
        settings["steps"] = chosen.steps
        wish = make_wish(console, opened, neuron, negative, variants, start, keep)
        settings |= {"parametrisation": chosen.parametrisation, "objective": wish.to_json()}
        run = draw(
            console, opened, out, layers, channels=numbers, recipe=chosen, size=size, seed=seed, batch=batch,
            precision=precision, provider=provider, wish=wish,
        )  # fmt: skip
    patches = {}
    interrupted = run is not None and run.interrupted
    if from_images and not interrupted:
        try:
            patches = draw_patches(console, opened, out, layers, numbers, from_images, top, run)
        except KeyboardInterrupt:
            if run is None:
                raise
            interrupted = True
    entries = [document(x, run, patches.get(x.name), settings) for x in layers]
    entries = [x for x in entries if x["channels"]] or entries[:1]
    more: dict[str, Any] = {"interrupted": interrupted}
    if run is not None and run.overview is not None:
        more |= {"overview": relative(run.overview), "walk": relative(run.walk) if run.walk else None}
    if len(layers) > 1:
        more["layers"] = entries
    console.document(console.head(opened, **entries[0], **more))
    if any(entry["channels"] for entry in entries):
        console.say(show(entries, more))
    if more["interrupted"]:
        any_done = any(channel["image"] for entry in entries for channel in entry["channels"])
        kept = "what is finished is kept, and" if any_done else "nothing was finished;"
        console.note(f"interrupted; {kept} the same command goes on from there")
        raise Stopped(130)


def wants_patterns(console: Console, from_images: str | None) -> bool:
    """Whether patterns can be made; without torch only patches are, and only if they are asked for."""
    if find_spec("torch") is not None or not from_images:
        return True
    console.note("torch is not installed: patches only, no patterns")
    return False


def choose_layers(
    console: Console, model: Model, names: Sequence[str], classes: Sequence[str], channels: str
) -> tuple[list[Layer], list[int] | None]:
    """The layers and channels that the options mean; None for all channels."""
    from inspector.layers import Layer
    from inspector.receptive import block_layers, parse_channels

    if classes:
        if names:
            raise UsageError("--class and --layer exclude each other", "--class takes the layer with the scores")
        if model.classifier is None:
            raise NotComputable(f"{model.path} has no classification output", "give --layer and --channels")
        tensor = model.classifier.scores
        scores = next((x for x in model.layers if x.tensor == tensor), None)
        found = scores or Layer("scores", tensor, "linear", (None, model.classes), tensor in model.graph.outputs)
        return [found], [model.find_class(text) for text in classes]
    if not names:
        some = [x.name for x in model.layers[:: max(1, len(model.layers) // 3)]][:3]
        raise UsageError("no layer was given", f"give --layer with a name ({', '.join(some)}, ...) or all-blocks")
    chosen: list[Layer] = []
    for name in names:
        chosen += block_layers(model) if name == "all-blocks" else console.layers(model, [name])
    return list(dict.fromkeys(chosen)), parse_channels(channels)


def choose_recipe(name: str, steps: int | None, parametrisation: str | None) -> Recipe:
    """The recipe with what was changed of it."""
    from inspector.ascent.recipes import find_recipe

    changes = {"steps": steps, "parametrisation": parametrisation}
    return find_recipe(name).with_(**{key: value for key, value in changes.items() if value is not None})


def make_wish(
    console: Console, model: Model, neuron: bool, negative: bool, variants: int, start: str | None, keep: str | None
) -> Wish:
    """What is wanted of each channel."""
    from inspector.ascent.filters import Wish

    if keep and not start:
        raise UsageError("--keep needs a picture to stay the same", "give --start IMAGE")
    kept = weighted_layer(console, model, keep) if keep else None
    return Wish(neuron, negative, variants, Path(start) if start else None, kept)


def weighted_layer(console: Console, model: Model, text: str) -> tuple[Layer, float]:
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


@contextmanager
def shares(what: str, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A progress bar in thousandths; the value takes what is done and what there is in all."""
    shown = 0
    with progress(1000, what, quiet) as advance:

        def tell(done: int, total: int) -> None:
            nonlocal shown
            while shown < 1000 * done // max(total, 1):
                shown += 1
                advance()

        yield tell


def draw(console: Console, model: Model, out: str, layers: Sequence[Layer], **options: Any) -> FilterRun:
    """The patterns, with progress."""
    from inspector.ascent.filters import draw_filters

    with shares("filters", console.quiet) as tell:
        return draw_filters(model, out, layers, on_progress=tell, **options)


def draw_patches(
    console: Console,
    model: Model,
    out: str,
    layers: Sequence[Layer],
    numbers: Sequence[int] | None,
    images: str,
    top: int,
    run: FilterRun | None,
) -> dict[str, tuple[TopPatches, Path]]:
    """Layer name -> its patches and their sheet."""
    from inspector.files import output_folder, safe_name
    from inspector.pages.sheets import draw_patch_sheet
    from inspector.receptive import find_patches

    pictures = list(find_pictures([images]))
    if isinstance(pictures[0], ImageError):
        raise pictures[0]
    sources = {p.path: p.source for p in pictures if not isinstance(p, ImageError)}
    with progress(len(sources), "pictures", console.quiet) as advance:
        found = find_patches(model, sources.items(), layers, k=top, channels=numbers, on_image=advance)
    taken: set[str] = set()
    sheets = {}
    for layer in layers:
        folder = output_folder(Path(out) / f"filters-{safe_name(layer.name, taken)}")
        sheet = next((s for s in run.sheets if s.layer == layer), None) if run else None
        patterns = {p.channel: None if p.stuck else p.image for p in sheet.pictures} if sheet else {}
        path = draw_patch_sheet(model, found[layer.name], sources, folder / "patches.png", patterns)
        sheets[layer.name] = found[layer.name], path
    for name, reason in next(iter(found.values())).skipped:
        console.note(f"skipped {name}: {reason}")
    return sheets


def document(
    layer: Layer, run: FilterRun | None, patches: tuple[TopPatches, Path] | None, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """What is said of one layer."""
    sheet = next((s for s in run.sheets if s.layer == layer), None) if run else None
    made = {"layer": layer.name, **settings, "grid": None}
    if sheet is not None:
        made |= {
            "size": sheet.size[0] if sheet.size[0] == sheet.size[1] else list(sheet.size),
            "grid": relative(sheet.grid) if sheet.grid else None,
            "precision": sheet.precision,
        }
    found = patches[0].patches if patches else {}
    if patches is not None:
        made |= {"patches": relative(patches[1]), "pictures": patches[0].seen}
    channels = pattern_entries(sheet) if sheet is not None else {c: {"channel": c, **_NO_PATTERN} for c in found}
    for number, entry in channels.items():
        if number in found:
            entry["patches"] = [
                {"image": p.image, "value": p.value, "position": list(p.position), "box": list(p.box)}
                for p in found[number]
            ]
    return {**made, "channels": list(channels.values())}


_NO_PATTERN: dict[str, Any] = {"activation_start": None, "activation": None, "image": None, "stuck": False}


def pattern_entries(sheet: FilterSheet) -> dict[int, dict[str, Any]]:
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
    lines = [table(headers, rows, "size channels reused stuck start end"), ""]
    lines += [f"open {path}" for x in entries for path in (x["grid"], x.get("patches")) if path]
    return "\n".join([*lines, *(f"open {more[key]}" for key in ("overview", "walk") if more.get(key))])

"""torchvision:NAME: a classification network of torchvision, NAME with or without the name of its weights."""

from __future__ import annotations

import inspect
import re
from typing import Any

from exporters.sources.names import find_lecture_aliases, make_labels_distinct
from exporters.sources.needs import nn, quiet
from exporters.sources.network import Source, SourceError, SourceRequest
from exporters.sources.zoo import explain_load_failure, import_zoo
from inspector.errors import UsageError, nearest
from inspector.image import Preprocess

LIBRARY = True


_NO_PRESET = "none"
"""What stands for a name of weights where they are of a training of one's own."""


def load(request: SourceRequest) -> Source:
    """Make a classification network of torchvision."""
    models = import_zoo("torchvision").models
    name, tag = _split_name(models, request.name)
    state, pretrained, classes = request.state, request.pretrained, request.classes
    enum = models.get_model_weights(name)
    best, said = _choose_weights(enum, tag, request.sha256)
    if pretrained and tag == _NO_PRESET:
        raise UsageError(f"torchvision has no weights {request.name!r}", f"known: {', '.join(enum.__members__)}")
    categories = tuple(best.meta["categories"])
    notes: list[str] = []
    options: dict[str, Any] = {}
    if pretrained:
        if classes not in (None, len(categories)):
            raise UsageError(
                f"the pretrained {name} has {len(categories)} classes, not {classes}",
                "`inspector finetune` makes a head for other classes",
            )
    elif classes is not None:
        options["num_classes"] = classes
    parameters = inspect.signature(models.get_model_builder(name)).parameters
    builder = inspect.signature(getattr(models, _class_of(models, name), nn.Module)).parameters
    if not pretrained and "aux_logits" in builder and parameters:
        # The auxiliary heads serve training only; a checkpoint may hold them or not.
        options["aux_logits"] = state is not None and any(k.lower().find("aux") >= 0 for k in state)
        options["init_weights"] = False
        # The pictures are normalised in ImageNet's way, and torchvision's own checkpoints, or what was trained from
        # them, expect this inside.
        options["transform_input"] = state is not None and tag != _NO_PRESET
        if options["transform_input"] and not said:
            notes.append(
                f"the weights do not say whether {name} transforms its input inside, as torchvision's own do: it does "
                f"here; torchvision:{name}.{_NO_PRESET} leaves that out"
            )
    try:
        with quiet():
            module = models.get_model(name, weights=best if pretrained else None, **options)
    except Exception as error:
        raise explain_load_failure(f"torchvision:{name}", error) from error
    provenance: dict[str, Any] = {"library": "torchvision"}
    if pretrained:
        provenance["weights"] = f"{enum.__name__.removesuffix('_Weights')}.{best.name}"
    elif said and tag != _NO_PRESET:
        provenance["preset"] = f"{enum.__name__}.{best.name}"
    elif state is not None:
        notes += _tell_preset(name, enum, best)
    if options.get("transform_input"):
        provenance["transform_input"] = True
    same = classes in (None, len(categories))
    return Source(
        module,
        name,
        _read_preprocess(best.transforms()),
        make_labels_distinct(categories) if same else None,
        provenance,
        find_lecture_aliases(module),
        notes=tuple(notes),
    )


def _split_name(models: Any, given: str) -> tuple[str, str]:
    """(network, name of its weights): of ``resnet50.IMAGENET1K_V1`` as of ``ResNet50_Weights.IMAGENET1K_V1``."""
    name, _, tag = given.partition(".")
    known = models.list_models(module=models)
    if name not in known and name.endswith("_Weights"):
        name = next((n for n in known if models.get_model_weights(n).__name__ == name), name)
    if name not in known:
        raise SourceError(
            f"torchvision has no classification network {name!r}; nearest: {', '.join(nearest(name, known))}",
            "python -c 'import torchvision; print(torchvision.models.list_models())'",
        )
    there = [*models.get_model_weights(name).__members__]
    if tag and tag not in (*there, _NO_PRESET):
        raise SourceError(
            f"torchvision has no weights {given!r}; nearest: {', '.join(f'{name}.{n}' for n in nearest(tag, there))}",
            f"{name} alone takes the default, {name}.{_NO_PRESET} is for weights of your own",
        )
    return name, tag


def _choose_weights(enum: Any, tag: str, sha256: str) -> tuple[Any, bool]:
    """(the weights whose preset is taken, whether somebody says so: the name, or the digest of torchvision's file)."""
    if tag and tag != _NO_PRESET:
        return enum[tag], True
    for member in enum:
        # torchvision's files are named after the first digits of their SHA-256.
        found = re.search(r"-([0-9a-f]{8})\.pth$", member.url)
        if found is not None and sha256.startswith(found[1]):
            return member, True
    return enum.DEFAULT, tag == _NO_PRESET


def _tell_preset(name: str, enum: Any, taken: Any) -> list[str]:
    """Which of several presets was taken for weights that do not say theirs."""
    told = {member.name: _read_preprocess(member.transforms()) for member in enum}
    ours = told[taken.name]
    others = {other: preset for other, preset in told.items() if preset != ours}
    if not others:
        return []
    ways = "; ".join(f"torchvision:{name}.{other} takes {_describe_preset(preset)}" for other, preset in others.items())
    return [f"the weights do not say their preset: that of {taken.name} is taken, {_describe_preset(ours)}; {ways}"]


def _describe_preset(preset: Preprocess) -> str:
    return f"resize {preset.resize_size} and crop {preset.size[0] if preset.size else '?'}, {preset.filter}"


def _class_of(models: Any, name: str) -> str:
    return {"googlenet": "GoogLeNet", "inception_v3": "Inception3"}.get(name, "")


def _read_preprocess(transforms: Any) -> Preprocess:
    """The preset of a torchvision weights enum as our Preprocess."""
    crop, resize = list(transforms.crop_size), list(transforms.resize_size)
    height, width = (crop * 2)[:2]
    return Preprocess(
        size=(height, width),
        resize="shortest",
        resize_size=min(resize),
        filter=transforms.interpolation.value,
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
    )

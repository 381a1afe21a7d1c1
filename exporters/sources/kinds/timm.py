"""timm:NAME: a network of timm, NAME with or without a tag of its weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from exporters.sources.names import find_lecture_aliases, make_labels_distinct
from exporters.sources.needs import quiet
from exporters.sources.network import Source, SourceError, SourceRequest
from exporters.sources.zoo import explain_load_failure, import_zoo, without_retries
from inspector.errors import nearest
from inspector.image import Preprocess, Resize

LIBRARY = True


def load(request: SourceRequest) -> Source:
    """Make a network of timm."""
    name, pretrained, classes = request.name, request.pretrained, request.classes
    timm = import_zoo("timm")
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise SourceError(
            f"timm has no network {name!r}; nearest: {', '.join(nearest(architecture, timm.list_models()))}",
            "python -c 'import timm; print(timm.list_models())'",
        )
    tagged = timm.list_models(f"{architecture}.*", pretrained=True)
    if tag and name not in tagged:
        raise SourceError(
            f"timm has no weights {name!r}; nearest: {', '.join(nearest(name, tagged)) or 'none'}",
            f"{architecture} alone takes the default",
        )
    options: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    try:
        with quiet(), without_retries() if pretrained else nullcontext():
            module = timm.create_model(name, pretrained=pretrained, **options)
            config = timm.data.resolve_data_config({}, model=module)
    except Exception as error:
        raise explain_load_failure(f"timm:{name}", error) from error
    preprocess, notes = read_data_config(config)
    card = module.pretrained_cfg
    provenance: dict[str, Any] = {"library": "timm"}
    if tag or pretrained:
        provenance["tag"] = card.get("tag", "")
    if pretrained:
        provenance["weights"] = card.get("hf_hub_id") or f"{architecture}.{card.get('tag', '')}"
    labels = None
    if module.num_classes == 1000 and card.get("num_classes") == 1000:
        labels = make_labels_distinct(timm.data.ImageNetInfo().label_descriptions())
    return Source(
        module,
        name,
        preprocess,
        labels,
        provenance,
        find_lecture_aliases(module),
        card.get("license") if pretrained else None,
        notes,
    )


_RESIZE: dict[str, Resize] = {"center": "shortest", "squash": "stretch", "border": "pad"}


def read_data_config(config: Mapping[str, Any]) -> tuple[Preprocess, tuple[str, ...]]:
    """Read timm's data config: our Preprocess, and sentences on what of it could not be said."""
    channels, height, width = config["input_size"]
    resize = _RESIZE.get(config["crop_mode"], "shortest")
    crop = float(config["crop_pct"])
    notes: tuple[str, ...] = ()
    if resize != "shortest" and crop < 1:
        notes = (f"timm crops {1 - crop:.1%} after its {config['crop_mode']}; the picture is taken whole here",)
    mean = tuple(float(v) for v in config["mean"])
    std = tuple(float(v) for v in config["std"])
    fill = tuple(round(255 * v) for v in mean) if len(mean) == 3 else (0, 0, 0)
    return (
        Preprocess(
            size=(height, width),
            resize=resize,
            resize_size=math.floor(min(height, width) / crop) if resize == "shortest" else None,
            filter={"random": "bilinear"}.get(config["interpolation"], config["interpolation"]),
            fill=(fill[0], fill[1], fill[2]) if resize == "pad" else Preprocess.fill,
            colour="L" if channels == 1 else "RGB",
            mean=mean,
            std=std,
        ),
        notes,
    )

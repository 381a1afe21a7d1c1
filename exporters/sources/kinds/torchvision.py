"""torchvision:NAME: a classification network of torchvision."""

from __future__ import annotations

import inspect
from typing import Any

from exporters.sources.names import find_lecture_aliases, make_labels_distinct
from exporters.sources.needs import nn, quiet
from exporters.sources.network import Source, SourceError, SourceRequest
from exporters.sources.zoo import explain_load_failure, import_zoo
from inspector.errors import UsageError, nearest
from inspector.image import Preprocess

LIBRARY = True


def load(request: SourceRequest) -> Source:
    """Make a classification network of torchvision."""
    name, state, pretrained, classes = request.name, request.state, request.pretrained, request.classes
    models = import_zoo("torchvision").models
    known = models.list_models(module=models)
    if name not in known:
        raise SourceError(
            f"torchvision has no classification network {name!r}; nearest: {', '.join(nearest(name, known))}",
            "python -c 'import torchvision; print(torchvision.models.list_models())'",
        )
    enum = models.get_model_weights(name)
    best = enum.DEFAULT
    categories = tuple(best.meta["categories"])
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
        options["transform_input"] = state is not None
    try:
        with quiet():
            module = models.get_model(name, weights=best if pretrained else None, **options)
    except Exception as error:
        raise explain_load_failure(f"torchvision:{name}", error) from error
    provenance: dict[str, Any] = {"library": "torchvision"}
    if pretrained:
        provenance["weights"] = f"{enum.__name__.removesuffix('_Weights')}.{best.name}"
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
    )


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

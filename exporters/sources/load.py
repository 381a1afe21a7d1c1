"""A torch network by name: torchvision:NAME, timm:NAME or package.module:factory."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import math
import os
import socket
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from exporters.needs import nn, quiet
from exporters.sources.weights import State, file_record, load_state, read_state
from inspector.errors import InspectorError, MissingExtra, UsageError, nearest, one_line
from inspector.extras import install_command
from inspector.image import Preprocess, Resize
from inspector.model.options import read_labels, read_preprocess

_FORMS = "SOURCE is torchvision:NAME, timm:NAME or package.module:factory"
_DEFAULT_SIZE = (224, 224)


@dataclass(frozen=True)
class Source:
    """A network with everything that belongs to it.

    module: on the CPU, float32. preprocess: always with a size. labels: K class names, or None.
    provenance: free JSON for the metadata; holds no path. aliases: layer name -> further names it answers to.
    notes: what had to be assumed, a sentence each.
    """

    module: nn.Module
    name: str
    preprocess: Preprocess
    labels: tuple[str, ...] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    licence: str | None = None
    notes: tuple[str, ...] = ()


class SourceError(InspectorError):
    """The network cannot be made: unknown name, failing factory, unreachable weights."""

    kind = "source"


def load_source(
    spec: str,
    *,
    weights: str | os.PathLike[str] | None = None,
    pretrained: bool = False,
    preprocess: Preprocess | str | os.PathLike[str] | None = None,
    labels: Sequence[str] | str | os.PathLike[str] | None = None,
    size: tuple[int, int] | None = None,
    classes: int | None = None,
) -> Source:
    """The network that `spec` names, with its preprocess and labels.

    weights: a safetensors file or a saved state dict. pretrained: the library's own weights, downloaded.
    Without either the weights are random.
    preprocess: instead of the library's own; also one of the names (imagenet, unit, ...) or a JSON file.
    labels: names, or a file of them. size: (H, W) of the input. classes: K of the head that is built; default: the
    number of labels, else the library's.

    Raises UsageError, SourceError, WeightsError, MetadataError, MissingExtra.
    """
    if weights is not None and pretrained:
        raise UsageError("both a file of weights and pretrained weights were asked for", "give one of them")
    names = read_labels(labels) if labels is not None else None
    if names is not None and classes is not None and len(names) != classes:
        raise UsageError(f"{classes} classes were asked for and {len(names)} labels given", "give as many labels")
    wanted = classes if classes is not None else len(names) if names is not None else None
    state = read_state(weights) if weights is not None else None
    kind, colon, name = spec.partition(":")
    if spec.lower().endswith(".onnx"):
        source = _from_onnx(spec)
    elif not colon or not kind or not name:
        raise UsageError(f"{spec!r} names no network", _FORMS)
    elif kind == "torchvision":
        source = _from_torchvision(name, state, pretrained, wanted)
    elif kind == "timm":
        source = _from_timm(name, pretrained, wanted)
    else:
        source = _from_factory(kind, name)
    if pretrained and kind not in ("torchvision", "timm"):
        raise UsageError(f"there are no pretrained weights for {spec!r}", "load them in the factory, or give --weights")

    notes = list(source.notes)
    provenance = {"spec": spec, **source.provenance}
    if state is not None and weights is not None:
        load_state(source.module, state, Path(weights).name)
        provenance["weights"] = file_record(weights)
    elif not pretrained and kind in ("torchvision", "timm"):
        provenance["weights"] = "random"
        notes.append("no weights were given: they are random")
    chosen = read_preprocess(preprocess, source.preprocess) if preprocess is not None else source.preprocess
    if size is not None:
        chosen = chosen.with_size(size)
    elif chosen.size is None:
        chosen = chosen.with_size(source.preprocess.size)
    if preprocess is None and kind not in ("torchvision", "timm"):
        notes.append(
            "no preprocess was given: imagenet at 224x224 is assumed"
            if size is None
            else "no preprocess was given: imagenet is assumed"
        )
    return replace(
        source,
        name=spec,
        preprocess=chosen,
        labels=names if names is not None else source.labels,
        provenance=provenance,
        notes=tuple(notes),
    )


def source_of(
    source: Source | nn.Module, preprocess: Preprocess | None = None, labels: Sequence[str] | None = None
) -> Source:
    """`source` with these parts replaced; a bare module becomes a source, and must come with a preprocess.

    Raises UsageError.
    """
    if isinstance(source, nn.Module):
        if preprocess is None:
            raise UsageError("a bare module does not say how pictures are prepared for it", "give preprocess=")
        name = type(source).__name__
        source = Source(source, name, preprocess, None, {"spec": name}, lecture_aliases(source))
    if preprocess is not None:
        source = replace(source, preprocess=preprocess)
    if labels is not None:
        source = replace(source, labels=tuple(labels))
    return source


def lecture_aliases(module: nn.Module) -> dict[str, tuple[str, ...]]:
    """The names that *Deep Learning with Python* gives to the layers of a VGG: layer name -> (alias, ...); else empty.

    ``block5_conv3`` is the convolution, with its folded norm but before the ReLU, as the lecture's table maps it.
    The book's own layer ends with the ReLU; that tensor is ``block5_conv3_relu``.
    """
    features = getattr(module, "features", None)
    if type(module).__name__ != "VGG" or not isinstance(features, nn.Sequential):
        return {}
    aliases: dict[str, tuple[str, ...]] = {}
    block, conv = 1, 0
    for index, part in features.named_children():
        if isinstance(part, nn.Conv2d):
            conv += 1
            aliases[f"features.{index}"] = (f"block{block}_conv{conv}",)
        elif isinstance(part, nn.ReLU):
            aliases[f"features.{index}"] = (f"block{block}_conv{conv}_relu",)
        elif isinstance(part, nn.MaxPool2d):
            aliases[f"features.{index}"] = (f"block{block}_pool",)
            block, conv = block + 1, 0
    head = getattr(module, "classifier", None)
    if isinstance(head, nn.Sequential):
        linear = [name for name, part in head.named_children() if isinstance(part, nn.Linear)]
        aliases |= {
            f"classifier.{n}": (alias,) for n, alias in zip(linear, ("fc1", "fc2", "predictions"), strict=False)
        }
    return aliases


def distinct_labels(names: Sequence[str], fallback: Sequence[str] | None = None) -> tuple[str, ...]:
    """The first of each entry's synonyms ("tabby, tabby cat" -> "tabby"), all different.

    Where several entries begin alike, one with a further synonym of its own takes that, the first without one keeps
    the name if it is then alone; what still meets takes its name from `fallback`, or its index in brackets.
    """
    synonyms = [[s.strip() for s in name.split(",") if s.strip()] or [name] for name in names]
    chosen = [words[0] for words in synonyms]
    everything = Counter(word for words in synonyms for word in set(words))
    for i in _repeated(chosen):
        chosen[i] = next((word for word in synonyms[i][1:] if everything[word] == 1), chosen[i])
    for i in _repeated(chosen):
        chosen[i] = fallback[i] if fallback is not None else f"{chosen[i]} ({i})"
    return tuple(chosen)


def _repeated(names: Sequence[str]) -> list[int]:
    count = Counter(names)
    return [i for i, name in enumerate(names) if count[name] > 1]


# --- where networks come from -----------------------------------------------------------------------------------------


def _from_onnx(spec: str) -> Source:
    raise UsageError(f"{spec} is a model already; an export starts from a torch network", _FORMS)


def _from_torchvision(name: str, state: State | None, pretrained: bool, classes: int | None) -> Source:
    models = _zoo("torchvision").models
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
        raise _unreachable(f"torchvision:{name}", error) from error
    provenance: dict[str, Any] = {"library": "torchvision"}
    if pretrained:
        provenance["weights"] = f"{enum.__name__.removesuffix('_Weights')}.{best.name}"
    if options.get("transform_input"):
        provenance["transform_input"] = True
    same = classes in (None, len(categories))
    return Source(
        module,
        name,
        _torchvision_preprocess(best.transforms()),
        distinct_labels(categories) if same else None,
        provenance,
        lecture_aliases(module),
    )


def _class_of(models: Any, name: str) -> str:
    return {"googlenet": "GoogLeNet", "inception_v3": "Inception3"}.get(name, "")


def _torchvision_preprocess(transforms: Any) -> Preprocess:
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


def _from_timm(name: str, pretrained: bool, classes: int | None) -> Source:
    timm = _zoo("timm")
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
        with quiet(), _without_retries() if pretrained else nullcontext():
            module = timm.create_model(name, pretrained=pretrained, **options)
            config = timm.data.resolve_data_config({}, model=module)
    except Exception as error:
        raise _unreachable(f"timm:{name}", error) from error
    preprocess, notes = _timm_preprocess(config)
    card = module.pretrained_cfg
    provenance: dict[str, Any] = {"library": "timm"}
    if tag or pretrained:
        provenance["tag"] = card.get("tag", "")
    if pretrained:
        provenance["weights"] = card.get("hf_hub_id") or f"{architecture}.{card.get('tag', '')}"
    labels = None
    if module.num_classes == 1000 and card.get("num_classes") == 1000:
        labels = distinct_labels(timm.data.ImageNetInfo().label_descriptions())
    return Source(
        module,
        name,
        preprocess,
        labels,
        provenance,
        lecture_aliases(module),
        card.get("license") if pretrained else None,
        notes,
    )


_TIMM_RESIZE: dict[str, Resize] = {"center": "shortest", "squash": "stretch", "border": "pad"}


def _timm_preprocess(config: Mapping[str, Any]) -> tuple[Preprocess, tuple[str, ...]]:
    """timm's data config as our Preprocess, and what of it could not be said."""
    channels, height, width = config["input_size"]
    resize = _TIMM_RESIZE.get(config["crop_mode"], "shortest")
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


def _from_factory(where: str, what: str) -> Source:
    """The module that `where:what` is or makes. Runs the user's own code, as the user asked."""
    with _here_importable():
        try:
            with quiet():
                home: Any = importlib.import_module(where)
        except ModuleNotFoundError as error:
            if error.name is not None and (where == error.name or where.startswith(error.name + ".")):
                raise SourceError(f"there is no module {where!r} to import", _FORMS) from None
            raise SourceError(f"importing {where!r} fails: {_said(error)}") from error
        except Exception as error:  # a stranger's module may raise anything
            raise SourceError(f"importing {where!r} fails: {_said(error)}") from error
        factory = home
        for part in what.split("."):
            if not hasattr(factory, part):
                public = [n for n, v in vars(home).items() if callable(v) and not n.startswith("_")]
                near = f"; nearest: {', '.join(nearest(what, public))}" if public else ""
                raise SourceError(f"{where!r} has no {what!r}{near}", "give package.module:factory")
            factory = getattr(factory, part)
        try:
            with quiet():
                module = factory if isinstance(factory, nn.Module) else factory()
        except Exception as error:  # a stranger's factory may raise anything
            raise SourceError(
                f"{where}:{what} fails: {_said(error)}", "the factory is called without arguments"
            ) from error
    if not isinstance(module, nn.Module):
        raise SourceError(f"{where}:{what} gives {type(module).__name__}, not a torch module")
    channels = _input_channels(module)
    preprocess = Preprocess.named("imagenet", _DEFAULT_SIZE, 1 if channels == 1 else 3)
    return Source(module, what, preprocess, None, {"network": type(module).__name__}, lecture_aliases(module))


def _input_channels(module: nn.Module) -> int | None:
    first = next((part for part in module.modules() if isinstance(part, nn.Conv2d)), None)
    return first.in_channels if first is not None else None


@contextmanager
def _here_importable() -> Iterator[None]:
    """The current folder on the import path, as `python -m` has it and a console script has not."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        if here in sys.path:
            sys.path.remove(here)


def _zoo(package: str) -> Any:
    try:
        with quiet():
            module = importlib.import_module(package)
            if package == "timm":
                importlib.import_module("timm.data")
    except ImportError as error:
        raise MissingExtra(
            f"{package}:NAME needs {package}, which cannot be imported ({_said(error)})",
            install_command("zoo"),
        ) from error
    return module


@contextmanager
def _without_retries() -> Iterator[None]:
    """Lets the hub's client look into its cache only, where its host has no address: it would try for 50 seconds."""
    from urllib.request import getproxies

    constants: Any = None
    with suppress(ImportError):
        constants = importlib.import_module("huggingface_hub.constants")
    if constants is None or getproxies():
        yield
        return
    before = constants.HF_HUB_OFFLINE
    try:
        socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, 443)
    except OSError:
        constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _unreachable(spec: str, error: Exception) -> InspectorError:
    """Downloads fail in many ways; the last cause says how."""
    chain: list[BaseException] = [error]
    while (deeper := chain[-1].__cause__ or chain[-1].__context__) is not None and deeper not in chain:
        chain.append(deeper)
    if any(isinstance(e, OSError) or "hub" in type(e).__name__.lower() or "http" in type(e).__module__ for e in chain):
        offline = any(type(e).__name__ == "OfflineModeIsEnabled" for e in chain)
        reason = "the hub cannot be reached from here" if offline else _said(chain[-1])
        return SourceError(
            f"the weights of {spec} cannot be downloaded: {reason}",
            "fetch them elsewhere and give the file with --weights",
        )
    return SourceError(f"{spec} cannot be made: {_said(error)}")


def _said(error: BaseException) -> str:
    text = one_line(str(error), 200)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__

"""Names of layers and classes that come with a network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from exporters.sources.needs import nn


def find_lecture_aliases(module: nn.Module) -> dict[str, tuple[str, ...]]:
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


def make_labels_distinct(names: Sequence[str], fallback: Sequence[str] | None = None) -> tuple[str, ...]:
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

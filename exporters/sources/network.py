"""A torch network with everything that belongs to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from exporters.sources.names import find_lecture_aliases
from exporters.sources.needs import nn
from exporters.sources.weights import State
from inspector.errors import InspectorError, UsageError
from inspector.image import Preprocess


@dataclass(frozen=True)
class Source:
    """A torch network with everything that belongs to it.

    Attributes:
        module: The network, on the CPU, float32.
        name: What it was asked for by.
        preprocess: How pictures are prepared for it; always with a size.
        labels: K class names; None where they are not known.
        provenance: Free JSON for the metadata; it holds no path.
        aliases: Further names that a layer answers to, by its name.
        licence: Of the weights.
        notes: What had to be assumed, a sentence each.
    """

    module: nn.Module
    name: str
    preprocess: Preprocess
    labels: tuple[str, ...] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    licence: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SourceRequest:
    """What a kind of SOURCE is asked for.

    Attributes:
        before: What stands before the colon of the SOURCE.
        name: What stands behind it.
        state: The weights of a file that will be loaded; None for none.
        pretrained: Whether the library's own weights are wanted.
        classes: K of the head that is built; None for the library's own.
        sha256: Of the file of weights, as hex digits; empty for none.
    """

    before: str
    name: str
    state: State | None = None
    pretrained: bool = False
    classes: int | None = None
    sha256: str = ""


class SourceError(InspectorError):
    """The network cannot be made: unknown name, failing factory, unreachable weights."""

    kind = "source"


def make_source(
    source: Source | nn.Module, preprocess: Preprocess | None = None, labels: Sequence[str] | None = None
) -> Source:
    """Return `source` with these parts replaced; a bare module becomes a source.

    Args:
        source: A source, or a module, which then needs `preprocess`.
        preprocess: How pictures are prepared, instead of the source's.
        labels: K class names, instead of the source's.

    Raises:
        UsageError: A bare module came without a preprocess.
    """
    if isinstance(source, nn.Module):
        if preprocess is None:
            raise UsageError("a bare module does not say how pictures are prepared for it", "give preprocess=")
        name = type(source).__name__
        source = Source(source, name, preprocess, None, {"spec": name}, find_lecture_aliases(source))
    if preprocess is not None:
        source = replace(source, preprocess=preprocess)
    if labels is not None:
        source = replace(source, labels=tuple(labels))
    return source

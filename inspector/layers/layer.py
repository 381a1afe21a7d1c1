"""A layer: a tensor that a person would look at, and how it is found by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from inspector.errors import LayerNotFound, listing, nearest, wrong_type

Size = int | str | None


@dataclass(frozen=True)
class Layer:
    """One layer of a graph.

    Attributes:
        name: Torch module path or cleaned node path; no two layers share one.
        tensor: Name of its tensor in the graph.
        kind: conv, norm, activation, pool, add, gate, concat, linear, resize or softmax.
        shape: (N, C, H, W) or (N, K), also where the tensor itself is (N, H, W, C); a str or None where a size is not
            fixed, None as a whole where nothing is known before a run.
        exposed: The tensor is an output of the file as it stands.
        channels_last: The tensor holds its channels on the last axis; activations are given channels first all the
            same.
        aliases: Other names that the layer goes by.
    """

    name: str
    tensor: str
    kind: str
    shape: tuple[Size, ...] | None
    exposed: bool
    channels_last: bool = False
    aliases: tuple[str, ...] = field(default=(), repr=False)

    @property
    def channels(self) -> int | None:
        """Number of channels C (or K), None when the graph does not fix it."""
        size = self.shape[1] if self.shape and len(self.shape) > 1 else None
        return size if isinstance(size, int) else None

    @property
    def spatial(self) -> bool:
        """Whether it is a stack of maps that may be larger than 1x1."""
        return self.shape is not None and len(self.shape) >= 3 and any(size != 1 for size in self.shape[2:])


class Layers(tuple[Layer, ...]):
    """The layers of a model, in topological order: a tuple that a notebook shows as a table."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        from inspector.notebook import show_table

        rows = [
            (x.name, x.kind, "?" if x.shape is None else " x ".join("?" if s is None else str(s) for s in x.shape),
             "yes" if x.exposed else "")
            for x in self
        ]  # fmt: skip
        return show_table(("layer", "kind", "shape", "exposed"), rows, f"{len(self)} layers")


LayerNames: TypeAlias = "str | Layer | Iterable[str | Layer]"
"""What is taken for layers: a name or a unique ending of it, a layer of the model, or several of either."""


def find_layer(layers: Sequence[Layer], name: str) -> Layer:
    """Find the layer that goes by `name`: name, alias or tensor, else a unique ending or part of it, any case last.

    Raises:
        LayerNotFound: There is none, with the three nearest names; or there are several, with their names.
    """
    if not isinstance(name, str):
        raise wrong_type("a layer", name, "give its name, or one of model.layers")
    wanted = name.strip()
    if not layers:
        raise LayerNotFound("this model has no layers")
    exact = [x for x in layers if x.name == wanted] or [x for x in layers if wanted in (*x.aliases, x.tensor)]
    if exact:
        return exact[-1]
    for fold in (str, str.lower):
        text = fold(wanted)
        for test in (_is_ending, str.endswith, str.__contains__):
            hits = [x for x in layers if text and test(fold(x.name), text)]
            if len(hits) == 1:
                return hits[0]
            if hits:
                raise LayerNotFound(
                    f"{len(hits)} layers go by {wanted!r}: {listing([h.name for h in hits])}",
                    "give more of the name",
                )
    near = nearest(wanted, [x.name for x in layers] + [a for x in layers for a in x.aliases])
    raise LayerNotFound(f"there is no layer {wanted!r}; nearest: {', '.join(near)}", "see `inspector layers MODEL`")


def _is_ending(name: str, text: str) -> bool:
    return name.endswith("." + text)

"""A layer: a tensor that a person would look at, and how it is found by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from inspector.errors import LayerNotFound, listing, nearest, wrong_type
from inspector.records import record

if TYPE_CHECKING:
    from inspector.layers.arrangement import Arrangement
    from inspector.layers.tokens import TokenGrid

Size = int | str | None


@record
class Layer:
    """One layer of a graph.

    Attributes:
        name: Torch module path or cleaned node path; no two layers share one.
        tensor: Name of its tensor in the graph.
        kind: conv, norm, activation, pool, add, gate, concat, linear, resize, softmax or picture.
        shape: What is shown of it: (N, C, H, W) or (N, K), also where the tensor itself is (N, H, W, C), or holds the
            places as tokens (N, L, C) or in windows (N * k, L, C); a str or None where a size is not fixed, None as a
            whole where nothing is known before a run.
        exposed: The tensor is an output of the file as it stands.
        channels_last: The tensor holds its channels on the last axis; activations are given channels first all the
            same.
        aliases: Other names that the layer goes by.
        grid: How its tokens lie over the picture; None where its axes are rows and columns themselves, or nothing of
            the kind, as those of attention.
        places: Whether its rows and columns are places of the picture, so that it can be laid over it. Not those of
            attention (N, heads, L, L), whose cells say what one token gives to another.
        arrangement: Where the tensor holds the pictures and the channels; None where axis 0 holds the pictures, and
            `channels_last` says the rest.
        nodes: What the file calls the nodes that it consists of.
    """

    name: str
    tensor: str
    kind: str
    shape: tuple[Size, ...] | None
    exposed: bool
    channels_last: bool = False
    aliases: tuple[str, ...] = field(default=(), repr=False)
    grid: TokenGrid | None = field(default=None, repr=False, hash=False)
    places: bool = True
    arrangement: Arrangement | None = field(default=None, repr=False, hash=False)
    nodes: tuple[str, ...] = field(default=(), repr=False, compare=False)

    @property
    def channels(self) -> int | None:
        """Number of channels C (or K), None when the graph does not fix it."""
        size = self.shape[1] if self.shape and len(self.shape) > 1 else None
        return size if isinstance(size, int) else None

    @property
    def spatial(self) -> bool:
        """Whether it is a stack of maps that may be larger than 1x1."""
        return self.shape is not None and len(self.shape) >= 3 and any(size != 1 for size in self.shape[2:])

    def to_maps(self, values: NDArray[Any]) -> NDArray[Any]:
        """Lay the layer's values out as they are shown.

        Args:
            values: (N, C, ...), as :meth:`inspector.Model.activations` gives them.

        Returns:
            (N, C, h, w) where they are tokens of the places of the picture, without those that are no places; else
            the same values.

        Example:
            >>> Layer("patches", "t", "conv", (1, 8, 7, 7), False).to_maps(np.zeros((1, 8, 7, 7))).shape
            (1, 8, 7, 7)
        """
        tokens = self._find_tokens(values)
        return values if tokens is None or self.grid is None else self.grid.to_maps(tokens)

    def take_apart(self, values: NDArray[Any]) -> NDArray[Any]:
        """The tokens that :meth:`to_maps` leaves out, (N, C, extra): class and register tokens.

        Args:
            values: (N, C, ...), as :meth:`inspector.Model.activations` gives them.
        """
        tokens = self._find_tokens(values)
        if tokens is None or self.grid is None:
            return np.empty((*values.shape[:2], 0), values.dtype)
        return self.grid.take_apart(tokens)

    def _find_tokens(self, values: NDArray[Any]) -> NDArray[Any] | None:
        """The values as (N, C, L); None where they are no tokens, or others than the grid is about."""
        if self.grid is None or values.ndim < 3 or not values.size:
            return None
        tokens = values.reshape(*values.shape[:2], -1)
        return tokens if tokens.shape[2] == self.grid.length else None


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
    """Find the layer that goes by `name`: name, alias, tensor or node, else a unique ending or part, any case last.

    Where the name is short for several tensors of one block, the last of them is meant.

    Raises:
        LayerNotFound: There is none, with the three nearest names; or there are several, with their names.
    """
    return find_block(layers, name)[-1]


def find_block(layers: Sequence[Layer], name: str) -> list[Layer]:
    """The layers that `name` is short for, in the order of the graph: one, or the several of one block.

    Raises:
        LayerNotFound: There is none, with the three nearest names; or they are of several blocks, with their names.
    """
    if not isinstance(name, str):
        raise wrong_type("a layer", name, "give its name, or one of model.layers")
    wanted = name.strip()
    if not layers:
        raise LayerNotFound("this model has no layers")
    for text in dict.fromkeys((name, wanted)):
        for known in (_own, _others, _nodes):
            if exact := [x for x in layers if text in known(x)]:
                return exact[-1:]
    # TensorFlow counts the outputs of a node; 0 is the only one that most have. Its scopes are divided by slashes.
    short = wanted.removesuffix(":0").strip("/").replace("/", ".")
    for fold in (str, str.lower):
        for test, of in _TESTS:
            hits = [x for x in layers if short and test(fold(of(x)), fold(short))]
            if len(hits) > 1 and len({_block(x, fold(short), fold) for x in hits}) > 1:
                raise LayerNotFound(
                    f"{len(hits)} layers go by {wanted!r}: {listing([h.name for h in hits])}",
                    "give more of the name",
                )
            if hits:
                return hits
    near = nearest(wanted, [x.name for x in layers] + [a for x in layers for a in x.aliases])
    raise LayerNotFound(f"there is no layer {wanted!r}; nearest: {', '.join(near)}", "see `inspector layers MODEL`")


def _own(layer: Layer) -> tuple[str, ...]:
    return (layer.name,)


def _others(layer: Layer) -> tuple[str, ...]:
    return (*layer.aliases, layer.tensor)


def _nodes(layer: Layer) -> tuple[str, ...]:
    return layer.nodes


def _name(layer: Layer) -> str:
    return layer.name


def _tensor(layer: Layer) -> str:
    return layer.tensor.removesuffix(":0").strip("/").replace("/", ".")


def _is_ending(name: str, text: str) -> bool:
    return name == text or name.endswith("." + text)


def _ends_in(name: str, text: str) -> bool:
    return name.endswith(text) and _is_inside(name, text)


def _is_path(name: str, text: str) -> bool:
    """Whether the whole parts of `text` stand among those of the name: layer1.0 in layer1.0.conv1."""
    return f".{text}." in f".{name}."


def _is_counted(name: str, text: str) -> bool:
    """The same where an exporter has counted on: block5_conv3 in block5_conv3_1.relu."""
    return re.search(rf"(?:^|\.){re.escape(text)}_\d+(?:\.|$)", name) is not None


def _is_inside(name: str, text: str) -> bool:
    """Whether the name holds the text, with no number cut in two: conv2d_3 is not in conv2d_30."""
    start = name.find(text)
    while start >= 0:
        end = start + len(text)
        cut = (start and name[start - 1].isdigit() and text[0].isdigit()) or (
            name[end : end + 1].isdigit() and text[-1].isdigit()
        )
        if not cut:
            return True
        start = name.find(text, start + 1)
    return False


def _block(layer: Layer, text: str, fold: Callable[[str], str]) -> str:
    """What of the layer's name comes up to the end of the part that `text` ends in: the block that it is asked by."""
    name = fold(layer.name)
    found = re.search(rf"^(?:.*\.)?{re.escape(text)}(?:_\d+)?(?=\.|$)", name)
    if found is None or (found[0] == name and "." in name and _is_ending(name, text)):
        return name
    return found[0]


_TESTS = (
    (_is_ending, _name), (_is_path, _name), (_ends_in, _name), (_is_counted, _name), (_is_inside, _name),
    (_is_ending, _tensor), (_is_path, _tensor),
)  # fmt: skip
"""How a name may be short for a layer, best first."""

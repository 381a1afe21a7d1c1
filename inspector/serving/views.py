"""What those who watch want to see."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from inspector.errors import UsageError
from inspector.model import Model

BEST = "best"
"""The map is of what is the likeliest on each picture."""
SALIENCY = "saliency"
"""The map is of the gradient of the top score that the file gives itself."""


@dataclass(frozen=True)
class LiveView:
    """What one page shows, apart from the picture and the answers.

    Attributes:
        layer: Name of the layer whose channels are shown; None shows none.
        target: The class whose map is shown, by its index; ``"best"`` that of the likeliest; ``"saliency"`` the size of
            the gradient of the top score, of a file with this output; None shows none.
    """

    layer: str | None = None
    target: int | str | None = None


def read_view(model: Model, asked: Mapping[str, str]) -> LiveView:
    """Read a view from the query of an address.

    Args:
        model: The model that is watched.
        asked: ``layer``, a name or a unique ending of it, and ``map``, a class, ``best``, or ``saliency`` of a
            file that has it; both may be left out.

    Raises:
        LayerNotFound: There is no such layer.
        ClassNotFound: There is no such class.
        UsageError: Something else is asked for.
    """
    unknown = sorted(set(asked) - {"layer", "map"})
    if unknown:
        raise UsageError(f"there is nothing called {unknown[0]!r} to watch", "known: layer, map")
    layer, target = asked.get("layer"), asked.get("map")
    return LiveView(
        layer=model.layer(layer).name if layer else None,
        target=_read_target(model, target) if target else None,
    )


def _read_target(model: Model, target: str) -> int | str:
    if target == SALIENCY and model.attached is not None and model.attached.find("saliency") is not None:
        return SALIENCY
    return BEST if target == BEST else model.find_class(target)


@dataclass(frozen=True)
class Wanted:
    """What all views together want of the network.

    Attributes:
        layers: Names of layers, sorted.
        targets: Classes whose map is wanted, the likeliest of each picture among them as ``"best"``; and
            ``"saliency"``.
    """

    layers: tuple[str, ...] = ()
    targets: tuple[int | str, ...] = ()


def join_views(views: Iterable[LiveView]) -> Wanted:
    """What several views want.

    Example:
        >>> join_views([LiveView("conv1"), LiveView("conv1", 3), LiveView(None, "best")])
        Wanted(layers=('conv1',), targets=(3, 'best'))
    """
    given = list(views)
    layers = sorted({view.layer for view in given if view.layer is not None})
    numbers = sorted({view.target for view in given if isinstance(view.target, int)})
    words = [word for word in (BEST, SALIENCY) if any(view.target == word for view in given)]
    return Wanted(tuple(layers), (*numbers, *words))

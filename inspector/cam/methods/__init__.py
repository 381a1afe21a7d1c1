"""The methods, one file each, found by folder: a file that defines METHOD is a method of every command.

A file whose name begins with an underscore is a helper and no method.

In the formulas A is the activation (C, h, w), Y the score explained, G = dY/dA, and w a channel's weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType
from typing import get_args

from inspector.cam.method import Method, Needs
from inspector.errors import UsageError, nearest


def _find_methods() -> tuple[Method, ...]:
    """The METHOD of every file of this folder that is no helper: by what they need, the oldest first."""
    order = get_args(Needs)
    names = [found.name for found in iter_modules(__path__) if not found.name.startswith("_")]
    methods: list[Method] = [import_module(f"{__name__}.{name}").METHOD for name in names]
    return tuple(sorted(methods, key=lambda method: (order.index(method.needs), method.year, method.name)))


_ALL = _find_methods()

METHODS: Mapping[str, Method] = MappingProxyType({method.name: method for method in _ALL})
"""Every method by its name."""

_SPELLINGS = {spelling.replace("+", "p"): method for method in _ALL for spelling in (method.name, *method.aliases)}


def find_method(name: str) -> Method:
    """The method that goes by `name`, in any case and with or without hyphens (grad-cam, GradCAM++, gradcampp).

    Raises:
        UsageError: With the nearest names.
    """
    plain = "".join(c for c in name.lower() if c.isalnum() or c == "+").replace("+", "p").replace("plusplus", "pp")
    if plain not in _SPELLINGS:
        raise UsageError(
            f"there is no method {name!r}; nearest: {', '.join(nearest(name, METHODS))}", f"known: {', '.join(METHODS)}"
        )
    return _SPELLINGS[plain]

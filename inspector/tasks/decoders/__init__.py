"""The heads, one file each, found by folder: a file that defines DECODER is a head of every command.

A file whose name begins with an underscore is a helper and no head.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType

from inspector.tasks.decoder import Decoder


def _find_decoders() -> dict[str, type[Decoder]]:
    """The DECODER of every file of this folder that is no helper, in the order in which they are tried."""
    names = [found.name for found in iter_modules(__path__) if not found.name.startswith("_")]
    found: dict[str, type[Decoder]] = {name: import_module(f"{__name__}.{name}").DECODER for name in names}
    return dict(sorted(found.items(), key=lambda item: (item[1].order, item[0])))


DECODERS: Mapping[str, type[Decoder]] = MappingProxyType(_find_decoders())
"""Every head by its name, in the order in which they are tried."""

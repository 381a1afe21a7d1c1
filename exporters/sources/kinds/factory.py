"""package.module:factory: the module that somebody's own code is or makes."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from exporters.forms import list_forms
from exporters.sources.names import find_lecture_aliases
from exporters.sources.needs import nn, quiet
from exporters.sources.network import Source, SourceError, SourceRequest
from exporters.sources.zoo import describe_cause
from inspector.errors import nearest
from inspector.guard import add_inputs
from inspector.image import Preprocess

LIBRARY = False
_DEFAULT_SIZE = (224, 224)


def load(request: SourceRequest) -> Source:
    """Make the module that ``before:name`` is or makes. It runs the user's own code, as the user asked."""
    where, what = request.before, request.name
    with _here_importable():
        try:
            with quiet():
                home: Any = importlib.import_module(where)
        except ModuleNotFoundError as error:
            if error.name is not None and (where == error.name or where.startswith(error.name + ".")):
                hint = f"SOURCE is {list_forms(' or ')}"
                raise SourceError(f"there is no module {where!r} to import", hint) from None
            raise SourceError(f"importing {where!r} fails: {describe_cause(error)}") from error
        except Exception as error:  # a stranger's module may raise anything
            raise SourceError(f"importing {where!r} fails: {describe_cause(error)}") from error
        if (file := getattr(home, "__file__", None)) is not None:
            add_inputs("a file of the source", [file])
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
                f"{where}:{what} fails: {describe_cause(error)}", "the factory is called without arguments"
            ) from error
    if not isinstance(module, nn.Module):
        raise SourceError(f"{where}:{what} gives {type(module).__name__}, not a torch module")
    channels = _input_channels(module)
    preprocess = Preprocess.named("imagenet", _DEFAULT_SIZE, 1 if channels == 1 else 3)
    return Source(module, what, preprocess, None, {"network": type(module).__name__}, find_lecture_aliases(module))


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

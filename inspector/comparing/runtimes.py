"""What can run a graph here: onnxruntime in its ways, and others."""

from __future__ import annotations

import re

from inspector.comparing.compare import EngineMaker
from inspector.comparing.cutting import Engine, SessionEngine
from inspector.comparing.others import OTHERS, PartEngine
from inspector.errors import UsageError
from inspector.graph import Graph
from inspector.model import Model
from inspector.runtime import PROVIDERS, Sessions, choose_providers

LEVELS = ("basic", "extended", "disabled")
"""Levels of onnxruntime's optimisations, on the CPU."""
_THREADS = re.compile(r"threads[:=](\d+)")


def list_runtimes() -> tuple[str, ...]:
    """The names that `--runtime` takes."""
    names = [name for name in PROVIDERS if name != "openvino"]
    return (*names, *LEVELS, "threads:N", "ort-openvino", *OTHERS)


def choose_runtime(name: str) -> EngineMaker:
    """What makes the engines of a runtime.

    Args:
        name: One of `list_runtimes`.

    Raises:
        UsageError: There is no such runtime, or its provider is not in this onnxruntime.
        MissingExtra: It is not installed.
    """
    counted = _THREADS.fullmatch(name)
    if counted:
        threads = int(counted[1])
        if not 1 <= threads <= 1024:
            raise UsageError(f"threads {threads} is not between 1 and 1024")
        return lambda model, graph: SessionEngine(Sessions(graph, "cpu", threads, model.warn))
    if name in LEVELS:
        return lambda model, graph: SessionEngine(
            Sessions(graph, "cpu", model.threads, model.warn, level=name)  # type: ignore[arg-type]
        )
    if name in OTHERS:
        build = OTHERS[name]()
        return lambda model, graph: PartEngine(graph, build, name)
    provider = "openvino" if name == "ort-openvino" else name
    if provider not in (*PROVIDERS, "auto"):
        raise UsageError(f"there is no runtime {name!r}", f"known: {', '.join(list_runtimes())}")
    choose_providers(provider)
    # What was named is compared, and not the CPU in its place.
    return lambda model, graph: SessionEngine(
        Sessions(graph, provider, model.threads, model.warn, fall_back=provider == "auto")
    )


def use_model(model: Model, graph: Graph) -> Engine:
    """onnxruntime as the model was opened."""
    return SessionEngine(Sessions(graph, model.provider, model.threads, model.warn, arena=False))

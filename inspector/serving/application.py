"""The pages of the server: the one page, what it is made of, what it shows, and the stream that it watches."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from inspector.errors import InspectorError, UsageError
from inspector.render.colormap import make_color_table
from inspector.serving.access import App, Gate, Guarded
from inspector.serving.engine import LiveEngine
from inspector.serving.views import read_view
from inspector.text import to_plain
from inspector.version import __version__

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

FILES = {
    "watch.css": ("inspector.serving", "page/watch.css", "text/css"),
    "watch.js": ("inspector.serving", "page/watch.js", "text/javascript"),
    "uplot.js": ("inspector.serving", "page/uPlot.iife.min.js", "text/javascript"),
    "uplot.css": ("inspector.serving", "page/uPlot.min.css", "text/css"),
    "uplot.txt": ("inspector.serving", "page/uPlot.LICENSE", "text/plain"),
    "report.css": ("inspector.pages", "templates/report.css", "text/css"),
}
"""What the page is made of: package, path in it, type."""


@lru_cache(maxsize=16)
def read_file(package: str, path: str) -> bytes:
    """A file that lies in a package, as it is."""
    place = resources.files(package)
    for name in path.split("/"):
        place = place / name
    return place.read_bytes()


def build_application(engine: LiveEngine, gate: Gate) -> App:
    """Build the application of a server.

    Args:
        engine: What computes.
        gate: Who is let in.

    Returns:
        An ASGI application.
    """
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
    from starlette.responses import Response as Plain
    from starlette.routing import Route

    about = describe(engine)

    async def page(request: Request) -> Response:
        return Plain(read_file("inspector.serving", "page/watch.html"), media_type="text/html")

    async def file(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in FILES:
            return PlainTextResponse("there is no such file\n", 404)
        package, path, kind = FILES[name]
        return Plain(read_file(package, path), media_type=kind)

    async def tell(request: Request) -> Response:
        return JSONResponse(to_plain({**about, "history": list(engine.history), "now": engine.tell()}))

    async def watch(request: Request) -> Response:
        try:
            watcher = engine.hub.join(read_view(engine.looker.model, dict(request.query_params)))
        except InspectorError as error:
            return PlainTextResponse(f"{error}\n", 503 if isinstance(error, UsageError) else 400)

        async def messages() -> AsyncIterator[bytes]:
            try:
                while (message := await watcher.fetch()) is not None:
                    yield message
            finally:
                engine.hub.leave(watcher)

        return StreamingResponse(messages(), media_type="application/octet-stream")

    routes = [Route("/", page), Route("/about", tell), Route("/watch", watch), Route("/{name}", file)]
    return Guarded(Starlette(routes=routes), gate)


def describe(engine: LiveEngine) -> dict[str, Any]:
    """What the page is told of the model and the source."""
    model = engine.looker.model
    return {
        "version": __version__,
        "model": {"path": model.path.name, "sha256": model.sha256, "digest": model.digest, "classes": model.classes},
        "task": model.task,
        "labels": list(model.labels or ()),
        "assumed": list(model.assumed),
        "source": {"name": engine.reader.source.name, "once": engine.reader.once, "ends": engine.reader.source.ends},
        "drift": engine.extras.drift is not None,
        "attached": {meaning: entry.name for meaning, entry in engine.looker.attached.items()},
        "layers": [
            {"name": layer.name, "kind": layer.kind, "shape": [*(layer.shape or ())][1:]} for layer in model.layers
        ],
        "colors": base64.b64encode(make_color_table("viridis", 256).tobytes()).decode(),
    }

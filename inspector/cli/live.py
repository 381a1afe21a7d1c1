"""`inspector live`: a page served by the device that has the camera."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

from inspector.cli.console import (
    Console,
    InputOption,
    JsonOption,
    LinksOption,
    ModelArgument,
    ProviderOption,
    QuietOption,
    ThreadsOption,
)
from inspector.cli.ends import Stopped, as_error
from inspector.cli.options import option
from inspector.cli.streams import write_error_line
from inspector.errors import InspectorError

if TYPE_CHECKING:
    from inspector.model import Model
    from inspector.serving import LiveAddress

_SEEN, _KEPT, _SERVED = "What is seen", "What is compared and kept", "Who may watch"


def live(
    model: ModelArgument,
    source: Annotated[
        str,
        option(
            "--source",
            _SEEN,
            "A camera, a video file, a folder of pictures, or a stream.",
            "camera:N|FILE|DIR|rtsp://...",
        ),
    ] = "camera:0",
    once: Annotated[
        bool, option("--once", _SEEN, "Of a file or folder: every frame, as quickly as it goes, and then the end.")
    ] = False,
    method: Annotated[
        str | None,
        option("--method", _SEEN, "How class activation maps are made, as in `inspector cam --method`.", "NAME"),
    ] = None,
    against: Annotated[
        str | None,
        option(
            "--against",
            _KEPT,
            "Show drift from a file of `inspector audit --save-snapshot`, or the folder of an `inspector scan`.",
            "SNAPSHOT|SCAN",
        ),
    ] = None,
    record: Annotated[
        str | None,
        option("--record", _KEPT, "Keep frames that are uncertain, or unlike the snapshot, in this folder.", "DIR"),
    ] = None,
    record_limit: Annotated[
        float | None,
        option(
            "--record-limit", _KEPT, "The most megabytes in that folder, 500 unless given; the oldest go first.", "MB"
        ),
    ] = None,
    uncertain: Annotated[
        float | None,
        option(
            "--uncertain",
            _KEPT,
            "Keep frames of which the network is less sure than this, 0.5 unless given.",
            "P",
            min=0,
            max=1,
        ),
    ] = None,
    host: Annotated[
        str,
        option("--host", _SERVED, "Where the server listens; 0.0.0.0 lets others in, who need the token.", "ADDRESS"),
    ] = "127.0.0.1",
    port: Annotated[int, option("--port", _SERVED, "Its port; 0 takes a free one.", "N", min=0, max=65535)] = 8570,
    token: Annotated[
        str | None,
        option(
            "--token",
            _SERVED,
            "What those who watch must know; made where it is needed.",
            "T",
            envvar="INSPECTOR_TOKEN",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        option(
            "--allow-host",
            _SERVED,
            "A further host name that browsers may open the page by, as behind a proxy; again for more.",
            "NAME",
        ),
    ] = None,
    links: LinksOption = None,
    inputs: InputOption = None,
    json: JsonOption = False,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Serve a page that shows the network at work on a camera, a video or pictures: answers, maps, channels, load."""
    from inspector.api.live import live as serve

    console = Console("live", json, quiet)
    opened = console.open(model, provider, threads, links, inputs)
    with one_document(console) as ready:
        done = serve(
            opened, source, once=once, host=host, port=port, token=token, names=allow_host or (), method=method,
            against=against, record=record, record_limit=record_limit, uncertain=uncertain,
            on_ready=lambda address: ready(opened, address),
        )  # fmt: skip
    kept = f", {done.kept} kept" if record is not None else ""
    console.note(f"{done.frames} frames in {done.seconds:.0f} s, {done.dropped} left out{kept}")


@contextmanager
def one_document(console: Console) -> Iterator[Callable[[Model, LiveAddress], None]]:
    """Give a function that writes the document; what ends the command after that is told on stderr alone."""
    written = False

    def ready(model: Model, address: LiveAddress) -> None:
        nonlocal written
        tell(console, model, address)
        written = console.json

    try:
        yield ready
    except (InspectorError, KeyboardInterrupt) as error:
        if not written:
            raise
        write_error_line(f"inspector: {as_error(error)}")
        raise Stopped(130 if isinstance(error, KeyboardInterrupt) else 2) from None


def tell(console: Console, model: Model, address: LiveAddress) -> None:
    """Say where the page is. A token that was made is said once, on stderr, whoever wants it quiet."""
    used = {"attached": dict(address.attached)} if address.attached else {}
    console.document(
        console.head(model, address=address.url, token=address.token is not None, source=address.source, **used)
    )
    sys.stdout.flush()
    if address.made:
        console.warn(f"open {address.first_visit}")
    elif not console.json:
        console.note(f"open {address.url}{' with ?token=...' if address.token is not None else ''}; Ctrl-C ends it")
    if used:
        console.note(f"by the file's own attached outputs: {', '.join(map(repr, address.attached.values()))}")

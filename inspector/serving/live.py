"""`inspector live` from its beginning to its end: source, engine and server, and how they stop."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inspector.cam.methods import find_method
from inspector.errors import UsageError, one_line
from inspector.extras import need
from inspector.files import explain_os_error
from inspector.model import Model
from inspector.serving.access import Gate, check_token, is_loopback, list_names, make_token
from inspector.serving.application import build_application
from inspector.serving.drift import open_drift
from inspector.serving.engine import FrameExtras, LiveEngine
from inspector.serving.hub import Hub
from inspector.serving.look import Looker
from inspector.serving.reader import SourceReader
from inspector.serving.record import FrameRecorder
from inspector.serving.sources import open_source

PORT = 8570
_SEND_BYTES = 256 * 1024
"""Of a connection that the system keeps: a page that reads slowly is only so far behind, however large the buffers are
that the system would make."""
_PATIENCE = 2.0
"""Seconds that connections and threads get for their end."""
RECORD_LIMIT = 500.0
"""Megabytes that the frames that are kept may have together, where nothing else is asked for."""
UNCERTAIN = 0.5
"""The confidence below which a frame is kept, where nothing else is asked for."""


@dataclass(frozen=True)
class LiveOptions:
    """The options of `inspector live`.

    Attributes:
        source: ``camera:N``, a video file, a folder of pictures, ``rtsp://...``.
        once: Of a file or a folder: every frame, as quickly as the network goes, and then the end.
        host: The address or name that the server listens on.
        port: The port; 0 takes a free one.
        token: What those who watch must know; None makes one where others than this machine reach the server.
        names: Further names that the page may be asked for by.
        method: Of the maps; None takes the usual one.
        against: A snapshot of an audit, or the folder of a scan, which frames are held against.
        record: A folder that some frames are kept in; None keeps none.
        record_limit: Megabytes that they may have together; None for RECORD_LIMIT.
        uncertain: Confidence below which a frame is kept, in [0, 1]; None for UNCERTAIN.
    """

    source: str = "camera:0"
    once: bool = False
    host: str = "127.0.0.1"
    port: int = PORT
    token: str | None = field(default=None, repr=False)
    names: Sequence[str] = ()
    method: str | None = None
    against: str | os.PathLike[str] | None = None
    record: str | os.PathLike[str] | None = None
    record_limit: float | None = None
    uncertain: float | None = None

    def __post_init__(self) -> None:
        if self.record_limit is not None and not self.record_limit >= 1:
            raise UsageError(f"a record limit of {self.record_limit:g} MB is less than 1")
        if self.uncertain is not None and not 0 <= self.uncertain <= 1:
            raise UsageError(f"uncertain {self.uncertain:g} is not in [0, 1]")
        given = {"record_limit": self.record_limit, "uncertain": self.uncertain}
        if self.record is None and (alone := [name for name, value in given.items() if value is not None]):
            raise UsageError(f"{' and '.join(alone)} without record: no frames are kept", "--record DIR keeps them")


@dataclass(frozen=True)
class LiveAddress:
    """Where a server is to be found.

    Attributes:
        url: The address of the page.
        token: What has to be known besides; None where nothing has.
        made: The token was made, and is known to nobody yet.
        source: What is watched, without a password.
        attached: The attached outputs of the file that are used: what each says -> its name.
    """

    url: str
    token: str | None = field(repr=False)
    made: bool
    source: str
    attached: Mapping[str, str] = field(default_factory=dict)

    @property
    def first_visit(self) -> str:
        """The address that lets a browser in."""
        return self.url if self.token is None else f"{self.url}?token={self.token}"


@dataclass(frozen=True)
class LiveSummary:
    """What was done.

    Attributes:
        frames: Frames that the network looked at.
        dropped: Frames that came while it was busy.
        seconds: How long it went on.
        kept: Frames that were recorded.
    """

    frames: int
    dropped: int
    seconds: float
    kept: int = 0


def run_live(model: Model, options: LiveOptions, on_ready: Callable[[LiveAddress], None] | None = None) -> LiveSummary:
    """Serve the page until the source ends or somebody stops it.

    Args:
        model: The network.
        options: What is asked for.
        on_ready: Called with the address as soon as the server listens.

    Raises:
        UsageError: An option is wrong, or the port is in use.
        SourceLost: The source is not there, or a file ends where it should not.
        MissingExtra: The extra `live` is not installed.
        ModelError: The network cannot be run on a frame.
        KeyboardInterrupt: It was stopped.
    """
    uvicorn = need("uvicorn", "live", "`inspector live` needs uvicorn")
    need("starlette", "live", "`inspector live` needs starlette")
    if options.method is not None:
        find_method(options.method)  # an unknown name is told before anything is served
    local = is_loopback(options.host)
    made = options.token is None and not local
    token = make_token() if made else check_token(options.token) if options.token is not None else None
    source = open_source(options.source)
    if options.once and not source.ends:
        raise UsageError(f"{source.name} has no end, so that once says nothing", "leave --once out, or give a file")
    reader = SourceReader(source, options.once)
    extras = _open_extras(model, options, reader.source.name)
    with _listen(options.host, options.port) as listening:
        port = listening.getsockname()[1]
        server: Any = None
        engine = LiveEngine(
            Looker(model, options.method), reader, Hub(), extras, lambda: setattr(server, "should_exit", True)
        )
        gate = Gate(list_names(options.host, options.names), token, f"inspector-live-{port}", local)
        server = make_server(uvicorn, engine, gate, model.warn)
        used = {meaning: entry.name for meaning, entry in engine.looker.attached.items()}
        address = LiveAddress(_write_url(options.host, port), token, made, reader.source.name, used)
        try:
            reader.start()
            engine.start()
            if on_ready is not None:
                on_ready(address)
            server.run(sockets=[listening])
        finally:
            reader.stop()
            engine.join(_PATIENCE)
            reader.join(_PATIENCE)
    if (error := engine.error or reader.error) is not None:
        raise error
    if extras.recorder is not None and extras.recorder.trouble:
        model.warn(extras.recorder.trouble)
    kept = extras.recorder.kept if extras.recorder is not None else 0
    return LiveSummary(engine.counts.frames, reader.slot.dropped, time.monotonic() - engine.counts.began, kept)


def _open_extras(model: Model, options: LiveOptions, source: str) -> FrameExtras:
    """What is done with frames besides showing them.

    Raises:
        UsageError: Frames are to be kept in the folder that they come from, or the snapshot is of another model.
        SnapshotError: The snapshot cannot be read.
        ScanError: The scan cannot be read, or is of another model.
        OutputError: The folder cannot be made.
    """
    drift = open_drift(model, options.against) if options.against is not None else None
    if options.record is None:
        return FrameExtras(drift)
    folder = Path(options.record).resolve()
    given = Path(options.source)
    if given.is_dir() and folder.is_relative_to(given.resolve()):
        raise UsageError(f"{options.record} lies in the folder that is watched", "give another folder to --record")
    about = {"source": source, "model": {"path": model.path.name, "sha256": model.sha256, "digest": model.digest}}
    limit = RECORD_LIMIT if options.record_limit is None else options.record_limit
    uncertain = UNCERTAIN if options.uncertain is None else options.uncertain
    return FrameExtras(drift, FrameRecorder(folder, int(limit * 1e6), uncertain, about))


def make_server(uvicorn: Any, engine: LiveEngine, gate: Gate, warn: Callable[[str], None]) -> Any:
    """A server of uvicorn that lets those who watch go before it ends.

    Args:
        uvicorn: The module.
        engine: What computes.
        gate: Who is let in.
        warn: Gets a line where a request goes wrong that should not.
    """

    class Server(uvicorn.Server):  # type: ignore[misc]
        async def shutdown(self, sockets: Any = None) -> None:
            engine.hub.close()
            await super().shutdown(sockets)

    log = logging.getLogger("uvicorn.error")
    log.handlers[:] = [_Lines(warn)]
    log.propagate = False
    log.setLevel(logging.ERROR)
    return Server(
        uvicorn.Config(
            build_application(engine, gate),
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=int(_PATIENCE),
            h11_max_incomplete_event_size=16384,
            loop="asyncio",
            http="h11",
        )
    )


class _Lines(logging.Handler):
    """What a library logs, as lines of ours."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        super().__init__()
        self._warn = warn

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        text = f"{record.getMessage()}: {type(error).__name__}: {error}" if error is not None else record.getMessage()
        self._warn(f"the server: {one_line(text, 200)}")


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        UsageError: The port is in use or not allowed, or the address is none of this machine.
    """
    try:
        # An IPv6 address stands in brackets where a port follows.
        name = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        family, kind, _, _, place = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.socket(family, kind)  # a machine without IPv6 knows its addresses all the same
    except (OSError, UnicodeError):
        raise UsageError(
            f"{host!r} is no address of this machine", "127.0.0.1 for this machine alone, 0.0.0.0 for all"
        ) from None
    try:
        # Those that connect get it from here.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)
        if os.name == "posix":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
        listening.listen(128)
    except OSError as error:
        listening.close()
        reasons = {98: "is in use", 48: "is in use", 13: "is not allowed"}
        reason = reasons.get(error.errno or 0, f"cannot be had: {explain_os_error(error)[0]}")
        raise UsageError(f"port {port} of {host} {reason}", "give another with --port; 0 takes a free one") from None
    return listening


def _write_url(host: str, port: int) -> str:
    """The address of the page, by a name that can be asked for from where it can be seen."""
    name = host.strip("[]")
    if name in ("0.0.0.0", "::"):
        name = socket.gethostname()
    return f"http://[{name}]:{port}/" if ":" in name else f"http://{name}:{port}/"

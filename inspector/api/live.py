"""The page served by the device that has the camera."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from inspector.api.arguments import ModelSource, Warn, check_arguments
from inspector.api.model import to_model
from inspector.errors import check_whole

if TYPE_CHECKING:
    from inspector.serving import LiveAddress, LiveSummary


# Wide: the options of `inspector live`.
@check_arguments
def live(
    model: ModelSource,
    source: str = "camera:0",
    *,
    once: bool = False,
    host: str = "127.0.0.1",
    port: int = 8570,
    token: str | None = None,
    names: Sequence[str] = (),
    method: str | None = None,
    against: str | os.PathLike[str] | None = None,
    record: str | os.PathLike[str] | None = None,
    record_limit: float | None = None,
    uncertain: float | None = None,
    provider: str = "auto",
    threads: int | None = None,
    warn: Warn | None = None,
    on_ready: Callable[[LiveAddress], None] | None = None,
) -> LiveSummary:
    """Serve a page on which a network is watched at work on a camera, a video or a folder of pictures.

    It returns when the source ends, which only `once` lets it, and raises KeyboardInterrupt when it is stopped.

    Args:
        model: The path of an .onnx file, or a model that is open.
        source: ``camera:N``, a video file, a folder of pictures, or ``rtsp://...``.
        once: Of a file or a folder: every frame, as quickly as the network goes, and then the end.
        host: The address or name that the server listens on.
        port: The port; 0 takes a free one.
        token: What those who watch must know; None makes one where others than this machine reach the server.
        names: Further names that the page may be asked for by.
        method: The class activation maps; None takes the file's own, else gradcam, or layercam.
        against: What frames are held against: a snapshot of ``inspector audit``, or the folder of a scan of this model.
        record: A folder in which frames are kept that are uncertain, or unlike the snapshot; None keeps none.
        record_limit: Megabytes that they may have together, 500 unless given; the oldest go first.
        uncertain: Confidence below which a frame is kept, in [0, 1]; 0.5 unless given.
        provider: Where a path is given: auto, cpu, cuda, ...
        threads: Where a path is given: threads of onnxruntime; None takes all cores.
        warn: Gets a line where something is noteworthy but not wrong.
        on_ready: Called with the address as soon as the server listens.

    Returns:
        How many frames there were, and how long it took.

    Raises:
        InspectorError: The model or the source cannot be opened, an argument is wrong, or the port is in use.

    Example:
        >>> import inspector
        >>> inspector.live(model, "street.mp4", once=True, port=0).frames  # doctest: +SKIP
        250
    """
    from inspector.serving import LiveOptions, run_live

    check_whole("port", port, 0, 65535)
    options = LiveOptions(
        source, once, host, port, token, tuple(names), method, against, record, record_limit, uncertain
    )
    return run_live(to_model(model, provider, threads, warn), options, on_ready)

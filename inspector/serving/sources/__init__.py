"""Where the pictures come from: one file for each kind of source."""

from __future__ import annotations

import re
from pathlib import Path

from inspector.errors import UsageError
from inspector.image import SUFFIXES
from inspector.serving.sources.camera import CameraSource
from inspector.serving.sources.folder import FolderSource
from inspector.serving.sources.source import FrameSource, SourceLost
from inspector.serving.sources.stream import SCHEMES, StreamSource, hide_secrets
from inspector.serving.sources.video import VideoSource

FORMS = "camera:N, a video file, a folder of pictures, rtsp://..."


def open_source(given: str) -> FrameSource:
    """Find the source that a text means. What is there already is looked at: a camera, a file, a folder.

    Args:
        given: ``camera:N``, the path of a video file or of a folder of pictures, or an address that begins with
            ``rtsp://`` or ``rtsps://``.

    Raises:
        UsageError: It means nothing.
        SourceLost: The camera or the file is not there, or there is nothing to see in it.
        MissingExtra: PyAV is not installed, which all but folders need.

    Example:
        >>> open_source("rtsp://anna:secret@door.local/1").name
        'rtsp://***@door.local/1'
    """
    camera = re.fullmatch(r"camera:(\d{1,3})", given)
    source: FrameSource
    if camera is not None:
        source = CameraSource(int(camera[1]))
    elif given.lower().startswith(SCHEMES):
        source = StreamSource(given)
    elif Path(given).is_dir():
        source = FolderSource(Path(given))
    elif "://" in given or given.startswith("camera:"):
        shown = hide_secrets(given) if "://" in given else given
        raise UsageError(f"{shown!r} is no source", f"known: {FORMS}")
    elif Path(given).is_file() and Path(given).suffix.lower() in SUFFIXES:
        raise UsageError(f"{given} is a picture, not a video", "give the folder that it lies in")
    else:
        source = VideoSource(Path(given))
    source.check()
    return source


__all__ = ["FrameSource", "SourceLost", "open_source"]

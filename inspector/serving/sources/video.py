"""A video file."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from inspector.serving.frames import Frame
from inspector.serving.sources.decoding import decode_frames, need_ffmpeg, open_container
from inspector.serving.sources.source import SourceLost
from inspector.text import relative

_FORMATS = (
    "avi,gif,h264,hevc,image2,ivf,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,mpeg,mpegts,mpjpeg,mjpeg,ogg,yuv4mpegpipe"
)
"""Formats that hold their pictures themselves. Others name further files and addresses, which nobody asked for."""


@dataclass(frozen=True)
class VideoSource:
    """A video file.

    Attributes:
        path: The file.
    """

    path: Path
    ends: bool = True

    @property
    def name(self) -> str:
        """The path, relative to the current folder."""
        return relative(self.path)

    def check(self) -> None:
        """Look whether its first picture can be had.

        Raises:
            SourceLost: It cannot.
            MissingExtra: PyAV is not installed.
        """
        need_ffmpeg()
        if not self.path.is_file():
            raise SourceLost(f"there is no file {self.name}", "give a video file, a folder, camera:N or rtsp://...")
        if next(self.frames(), None) is None:
            raise SourceLost(f"there is no picture in {self.name}")

    def frames(self) -> Generator[Frame, None, None]:
        """Give its pictures as quickly as they are asked for.

        Raises:
            SourceLost: It cannot be read.
        """
        options = {"protocol_whitelist": "file", "format_whitelist": _FORMATS}
        # An absolute path, since what stands before a colon would be a protocol.
        with open_container(self.name, str(self.path.resolve()), options=options) as container:
            yield from decode_frames(container, self.name)

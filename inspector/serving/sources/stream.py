"""A camera elsewhere, by RTSP."""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass, field

from inspector.errors import UsageError
from inspector.serving.frames import Frame
from inspector.serving.sources.decoding import decode_frames, need_ffmpeg, open_container
from inspector.serving.sources.source import SourceLost

SCHEMES = ("rtsp://", "rtsps://")
_OPEN, _READ = 10.0, 10.0
"""Seconds until a stream that does not answer, or gives nothing more, counts as lost."""


def hide_secrets(address: str) -> str:
    """An address without name, password and what follows a question mark.

    A password may hold any sign, as may what follows a question mark: where it is unclear, more is hidden.

    Example:
        >>> hide_secrets("rtsp://anna:se/cret@door.local/1?key=2")
        'rtsp://***@door.local/1?***'
    """
    scheme, _, rest = address.partition("://")
    before, asks, after = rest.partition("?")
    if "@" in after:
        return f"{scheme}://***"
    _, at, place = before.rpartition("@")
    return f"{scheme}://{'***@' if at else ''}{place}{'?***' if asks else ''}"


@dataclass(frozen=True)
class StreamSource:
    """A stream, opened over TCP, or UDP where the camera knows nothing else.

    Attributes:
        address: ``rtsp://...``; it may hold a name and a password, which are shown to nobody.
    """

    address: str = field(repr=False)
    ends: bool = False

    @property
    def name(self) -> str:
        """The address without name, password and what follows a question mark."""
        return hide_secrets(self.address)

    def check(self) -> None:
        """Look whether it is an address. Whether somebody answers there, the first try shows.

        Raises:
            UsageError: It is none.
            MissingExtra: PyAV is not installed.
        """
        need_ffmpeg()
        if not re.fullmatch(r"rtsps?://[^\s/?#][^\s]*", self.address, re.I):
            raise UsageError(f"{self.name!r} is no address", "rtsp://HOST[:PORT]/PATH")

    def frames(self) -> Generator[Frame, None, None]:
        """Give its pictures as they come.

        Raises:
            SourceLost: Nobody answers, or nothing comes for ten seconds.
        """
        options = {"rtsp_flags": "prefer_tcp", "fflags": "nobuffer", "protocol_whitelist": "rtsp,rtsps,rtp,tcp,tls,udp"}
        with open_container(self.name, self.address, options=options, timeout=(_OPEN, _READ)) as container:
            yield from decode_frames(container, self.name)
        raise SourceLost(f"{self.name} ended")
